#pragma once

#include "kernels/cuda/cuda_backend.h"

namespace eelsvae {

// Where a backend of the emulated device queues its operations.
inline cudaStream_t stream_of(const Backend& backend) {
  return dynamic_cast<const emulated::CudaBackend&>(backend).stream();
}

}  // namespace eelsvae
