#include "kernels/cuda/choice.h"

#include <algorithm>

#include "kernels/cuda/library_versions.h"
#include "kernels/error.h"
#include "kernels/plan_cache.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

// Of as many runs as fit into a moment, after one that loads the code and fills the caches.
double median_seconds(cudaStream_t stream, const std::function<void()>& run) {
  constexpr size_t most_runs = 9;
  constexpr double moment = 0.02;
  run();
  check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  std::vector<double> times;
  Event start, end;
  double total = 0;
  while (times.size() < most_runs && total < moment) {
    start.record(stream);
    run();
    end.record(stream);
    end.synchronize();
    times.push_back(end.seconds_since(start));
    total += times.back();
  }
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

PlanCache section_of(const DeviceProperties& device) {
  return PlanCache(device.name + ", compute capability " + std::to_string(device.major) + "." +
                   std::to_string(device.minor) + ", " + library_versions() + ", kernels " +
                   kernels_version());
}

}  // namespace

size_t choose(const DeviceProperties& device, cudaStream_t stream, const std::string& key,
              const std::vector<std::string>& names, const std::function<void(size_t)>& run) {
  if (!choices_are_measured) {
    expect(!names.empty(), "nothing to choose from");
    return 0;
  }
  return fastest(section_of(device), key, names,
                 [&](size_t i) { return median_seconds(stream, [&] { run(i); }); });
}

}  // namespace eelsvae::EELSVAE_GPU
