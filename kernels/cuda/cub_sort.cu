#include <cub/device/device_radix_sort.cuh>

#include "kernels/cuda/sort.h"

namespace eelsvae::EELSVAE_GPU {

void sort_values(cudaStream_t stream, int64_t count, const float* values, float* sorted) {
  constexpr int bits = 8 * static_cast<int>(sizeof(float));
  size_t bytes = 0;
  check(cub::DeviceRadixSort::SortKeys(nullptr, bytes, values, sorted, count, 0, bits, stream),
        "cub::DeviceRadixSort::SortKeys");
  const DeviceMemoryBlock scratch(bytes);
  check(cub::DeviceRadixSort::SortKeys(scratch.data(), bytes, values, sorted, count, 0, bits, stream),
        "cub::DeviceRadixSort::SortKeys");
  check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
}

}  // namespace eelsvae::EELSVAE_GPU
