#pragma once

#include <cstddef>
#include <string>

#include "kernels/cuda/namespace.h"

namespace eelsvae::EELSVAE_GPU {

// What choices depend on. Read off a device, or written down for a device that is not here.
struct DeviceProperties {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  size_t memory_bytes = 0;
  size_t cache_bytes = 0;  // of the second level
  std::string cudnn_json;  // as cuDNN writes it down; empty for the current device
};

}  // namespace eelsvae::EELSVAE_GPU
