#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels/cuda/runtime.h"
#include "kernels/error.h"

namespace eelsvae::EELSVAE_GPU {

// Launches use the x axis of the grid only, which holds 2^31 - 1 blocks; y and z stop at 65,535.
constexpr int64_t largest_grid = (int64_t{1} << 31) - 1;

constexpr int64_t divide_up(int64_t count, int64_t piece) {
  return (count + piece - 1) / piece;
}

// Blocks so that each of `count` items has a place when a block takes `per_block` of them, but never more
// than `most`: kernels go on in strides of the whole grid. At least one, since an empty grid is an error.
constexpr int64_t grid_for(int64_t count, int64_t per_block, int64_t most = largest_grid) {
  return std::max<int64_t>(1, std::min(divide_up(count, per_block), std::min(most, largest_grid)));
}

// Queues kernel(arguments...) on the stream. `name` is the kernel's, for the error message.
template <typename... Parameters, typename... Arguments>
void launch(cudaStream_t stream, const char* name, void (*kernel)(Parameters...), int64_t blocks, int threads,
            Arguments... arguments) {
  expect(blocks >= 1 && blocks <= largest_grid && threads >= 1 && threads <= 1024, "launch: impossible grid");
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
}

}  // namespace eelsvae::EELSVAE_GPU
