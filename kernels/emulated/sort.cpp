// In place of CUB on the emulated device.
#include "kernels/cuda/sort.h"

#include <algorithm>

namespace eelsvae::emulated {

void sort_values(cudaStream_t stream, int64_t count, const float* values, float* sorted) {
  const auto sort = [=] {
    std::copy_n(values, count, sorted);
    std::sort(sorted, sorted + count);
  };
  check(emulated_device::enqueue(stream, {values, sorted}, sort), "sort");
  check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
}

}  // namespace eelsvae::emulated
