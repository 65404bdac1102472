#include "engine/bench/processor_time.h"

#include <algorithm>
#include <ctime>
#include <vector>

#include <omp.h>

namespace eelsvae {
namespace {

std::vector<double> seconds_of_threads() {
  std::vector<double> seconds(static_cast<size_t>(omp_get_max_threads()));
#pragma omp parallel
  {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    seconds[static_cast<size_t>(omp_get_thread_num())] =
        static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  }
  return seconds;
}

}  // namespace

double processor_seconds_of(const std::function<void()>& work) {
  const std::vector<double> begin = seconds_of_threads();
  work();
  const std::vector<double> end = seconds_of_threads();
  double busiest = 0;
  for (size_t thread = 0; thread < begin.size(); ++thread)
    busiest = std::max(busiest, end[thread] - begin[thread]);
  return busiest;
}

}  // namespace eelsvae
