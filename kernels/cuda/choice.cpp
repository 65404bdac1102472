#include "kernels/cuda/choice.h"

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "kernels/error.h"

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

}  // namespace

size_t fastest(const PlanCache& cache, const std::string& key, const std::vector<std::string>& names,
               const std::function<double(size_t)>& seconds) {
  expect(!names.empty(), "nothing to choose from");
  if (names.size() == 1) return 0;
  if (const std::optional<std::string> name = cache.find(key)) {
    const auto found = std::find(names.begin(), names.end(), *name);
    if (found != names.end()) return static_cast<size_t>(found - names.begin());
  }
  std::optional<size_t> best;
  double least = 0;
  std::string failures;
  for (size_t i = 0; i < names.size(); ++i) {
    try {
      const double time = seconds(i);
      if (!best || time < least) best = i, least = time;
    } catch (const std::exception& error) {
      failures += "; " + names[i] + ": " + error.what();
    }
  }
  if (!best) throw std::runtime_error(key + ": nothing that the library offers runs" + failures);
  cache.remember(key, names[*best]);
  return *best;
}

size_t choose(const DeviceProperties& device, cudaStream_t stream, const std::string& key,
              const std::vector<std::string>& names, const std::function<void(size_t)>& run) {
  if (!choices_are_measured) {
    expect(!names.empty(), "nothing to choose from");
    return 0;
  }
  return fastest(PlanCache(device), key, names,
                 [&](size_t i) { return median_seconds(stream, [&] { run(i); }); });
}

}  // namespace eelsvae::EELSVAE_GPU
