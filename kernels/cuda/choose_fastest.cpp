#include "kernels/cuda/choose_fastest.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "kernels/cuda/library_versions.h"
#include "kernels/error.h"
#include "kernels/plan_cache.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

// How often a candidate is timed: as often as fits into a moment.
constexpr int most_runs = 9;
constexpr double moment = 0.02;  // s
// What takes so many times as long as another is dropped. Outside a graph the host's time to queue an
// operation may count too.
constexpr double much_slower = 3, queueing = 5e-5;  // s

class Clock {
 public:
  explicit Clock(CudaBackend& backend) : backend_(backend), evicting_(2 * backend.properties().cache_bytes) {}

  // Of one run on the device. Writing more than the second cache holds leaves nothing else in it, and gives
  // the host time to queue what follows: no gap between operations counts.
  double seconds(const std::function<void()>& run) const {
    const cudaStream_t stream = backend_.stream();
    check(cudaMemsetAsync(evicting_.data(), 0, evicting_.bytes(), stream), "cudaMemsetAsync");
    start_.record(stream);
    run();
    end_.record(stream);
    end_.synchronize();
    return end_.seconds_since(start_);
  }

  // Of a recorded run, the median; after `run` was run, so that its code is on the device. At once if it is
  // more than `much_slower` than `best`.
  double recorded_seconds(const std::function<void()>& run, double best) const {
    const double once = seconds(run);
    if (once > much_slower * best + queueing) return once;
    const std::unique_ptr<Recording> recording = backend_.record(run);
    const auto replay = [&] { recording->run(); };
    replay();  // brings the graph to the device
    std::vector<double> times;
    double total = 0;
    while (times.size() < most_runs && total < moment) total += times.emplace_back(seconds(replay));
    const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
    std::nth_element(times.begin(), middle, times.end());
    return *middle;
  }

 private:
  CudaBackend& backend_;
  DeviceMemoryBlock evicting_;
  Event start_, end_;
};

PlanCache section_of(const DeviceProperties& device) {
  return PlanCache(device.name + ", compute capability " + std::to_string(device.major) + "." +
                   std::to_string(device.minor) + ", " + library_versions() + ", kernels " +
                   kernels_version());
}

}  // namespace

size_t choose_fastest(CudaBackend& backend, const std::string& key,
                      const std::vector<Candidate>& candidates) {
  expect(!candidates.empty(), "nothing to choose from");
  if (!backend.measures_choices()) return 0;
  std::vector<bool> checked(candidates.size());
  const auto run_checked = [&](size_t i) {
    (candidates[i].check ? candidates[i].check : candidates[i].run)();
    backend.synchronize();
    checked[i] = true;
  };
  std::vector<std::string> names;
  for (const Candidate& candidate : candidates) names.push_back(candidate.name);
  std::optional<Clock> clock;
  double best = std::numeric_limits<double>::infinity();
  const size_t chosen = fastest(section_of(backend.properties()), key, names, [&](size_t i) {
    if (!clock) clock.emplace(backend);
    try {
      run_checked(i);
      const double seconds = clock->recorded_seconds(candidates[i].run, best);
      best = std::min(best, seconds);
      return seconds;
    } catch (const UserError&) {
      throw;
    } catch (const std::exception& error) {
      backend.note(key + ": " + names[i] + " is passed over: " + error.what());
      throw;
    }
  });
  if (candidates[chosen].check && !checked[chosen]) run_checked(chosen);
  return chosen;
}

}  // namespace eelsvae::EELSVAE_GPU
