#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda/device_properties.h"
#include "kernels/cuda/runtime.h"

namespace eelsvae::EELSVAE_GPU {

// The emulated device's times mean nothing, and what it has in place of libraries needs no check: it takes
// the first of every choice.
#ifdef EELSVAE_EMULATED
constexpr bool choices_are_measured = false;
#else
constexpr bool choices_are_measured = true;
#endif

// `fastest` by time on the device, remembered for it with this process's libraries: run(i) queues way i on
// the stream once.
size_t choose(const DeviceProperties& device, cudaStream_t stream, const std::string& key,
              const std::vector<std::string>& names, const std::function<void(size_t)>& run);

}  // namespace eelsvae::EELSVAE_GPU
