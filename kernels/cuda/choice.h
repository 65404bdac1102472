#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda/plan_cache.h"
#include "kernels/cuda/runtime.h"

namespace eelsvae::EELSVAE_GPU {

// The emulated device's times mean nothing, and what it has in place of libraries needs no check: it takes
// the first of every choice.
#ifdef EELSVAE_EMULATED
constexpr bool choices_are_measured = false;
#else
constexpr bool choices_are_measured = true;
#endif

// Index of the fastest of several ways to do the same: the one that the cache names under `key`, or else the
// one for which seconds(i) is least, which the cache then remembers. Ways for which seconds(i) throws are
// passed over; if all do, so does this. A single way is not measured.
size_t fastest(const PlanCache& cache, const std::string& key, const std::vector<std::string>& names,
               const std::function<double(size_t)>& seconds);

// The same by time on the device: run(i) queues way i on the stream once.
size_t choose(const DeviceProperties& device, cudaStream_t stream, const std::string& key,
              const std::vector<std::string>& names, const std::function<void(size_t)>& run);

}  // namespace eelsvae::EELSVAE_GPU
