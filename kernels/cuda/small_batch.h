#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/linear.h"

namespace eelsvae::EELSVAE_GPU {

// The passes of a Linear layer for a few tiles, which read the weights once and do little else: y = relu?(x
// w^T + bias) and dx = dy w at the rate of the device's memory. Arithmetic is f32 whatever the storage type.
constexpr int64_t small_batch_limit = 8;

// How the work is split; of sizes only, so that results do not depend on the device.
struct SmallBatchGeometry {
  // Forward: a warp takes `rows_per_warp` rows of w and one of `splits` stretches of `stretch` inputs.
  // Backward: a block takes the `columns_per_block` inputs that its warps read at once and one of `splits`
  // stretches of `stretch` rows of w.
  int64_t groups, splits, stretch;
};
constexpr int64_t rows_per_warp = 4;

constexpr SmallBatchGeometry small_batch_forward_geometry(const LinearProblem& p) {
  constexpr int64_t warps_wanted = 8192, least = 1024, multiple = 256;
  const int64_t groups = divide_up(p.out, rows_per_warp);
  const int64_t wanted = std::clamp<int64_t>(warps_wanted / groups, 1, divide_up(p.in, least));
  const int64_t stretch = divide_up(divide_up(p.in, wanted), multiple) * multiple;
  return {groups, divide_up(p.in, stretch), stretch};
}
// columns_per_block: 32 lanes times the elements of a lane's access.
constexpr SmallBatchGeometry small_batch_backward_geometry(const LinearProblem& p,
                                                           int64_t columns_per_block) {
  constexpr int64_t blocks_wanted = 1056, least = 64;
  const int64_t groups = divide_up(p.in, columns_per_block);
  const int64_t wanted = std::clamp<int64_t>(blocks_wanted / groups, 1, divide_up(p.out, least));
  const int64_t stretch = divide_up(p.out, wanted);
  return {groups, divide_up(p.out, stretch), stretch};
}

size_t small_batch_workspace_bytes(const LinearProblem& problem, DType type, Passes passes);
// x (batch, in), w (out, in), y (batch, out) of `type`; bias (out) f32.
void small_batch_forward(cudaStream_t stream, const LinearProblem& problem, DType type, const void* x,
                         const void* w, const float* bias, bool relu, void* y, void* workspace);
void small_batch_backward_data(cudaStream_t stream, const LinearProblem& problem, DType type, const void* dy,
                               const void* w, void* dx, void* workspace);

}  // namespace eelsvae::EELSVAE_GPU
