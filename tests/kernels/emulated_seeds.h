#pragma once

#include <cuda_runtime.h>

namespace eelsvae {

constexpr int most_seeds = 64;

// For how many of the seeds 1 to most_seeds of the emulated device `passes` answers false.
template <typename F>
int seeds_that_fail(F passes) {
  int failed = 0;
  for (unsigned seed = 1; seed <= most_seeds; ++seed) {
    emulated_device::set_seed(seed);
    if (!passes()) ++failed;
  }
  return failed;
}

}  // namespace eelsvae
