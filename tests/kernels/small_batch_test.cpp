#include "kernels/cuda/small_batch.h"

#include <gtest/gtest.h>

namespace eelsvae::emulated {
namespace {

// Every input of every row is read by exactly one warp or block, and grids stay possible, for layers from one
// weight to more than 2^31.
TEST(SmallBatchGeometry, CoversTheWeights) {
  const int64_t sizes[] = {1, 7, 48, 512, 4099, 755712, int64_t{1} << 22};
  for (int64_t in : sizes)
    for (int64_t out : sizes) {
      SCOPED_TRACE(testing::Message() << in << " -> " << out);
      const LinearProblem p = {1, in, out};
      const SmallBatchGeometry forward = small_batch_forward_geometry(p);
      EXPECT_GE(forward.groups * rows_per_warp, out);
      EXPECT_LT((forward.groups - 1) * rows_per_warp, out);
      EXPECT_GE(forward.splits * forward.stretch, in);
      EXPECT_LT((forward.splits - 1) * forward.stretch, in);
      EXPECT_LE(divide_up(forward.groups * forward.splits, 8), largest_grid);
      for (int64_t columns : {32, 128, 256}) {
        const SmallBatchGeometry backward = small_batch_backward_geometry(p, columns);
        EXPECT_GE(backward.groups * columns, in);
        EXPECT_LT((backward.groups - 1) * columns, in);
        EXPECT_GE(backward.splits * backward.stretch, out);
        EXPECT_LT((backward.splits - 1) * backward.stretch, out);
        EXPECT_LE(backward.groups * backward.splits, largest_grid);
      }
    }
}

// The two wide layers of the published network, which are most of its weights, keep a large GPU busy, and
// what is added up at the end is little beside the weights.
TEST(SmallBatchGeometry, FillsAGpuWithTheWideLayers) {
  const LinearProblem wide[] = {{8, 755712, 512}, {8, 512, 755712}};
  for (const LinearProblem& p : wide) {
    const SmallBatchGeometry forward = small_batch_forward_geometry(p),
                             backward = small_batch_backward_geometry(p, 256);
    EXPECT_GE(forward.groups * forward.splits, 132 * 32);
    EXPECT_GE(backward.groups * backward.splits, 132 * 4);
    EXPECT_LT(small_batch_workspace_bytes(p, DType::bf16, Passes::training),
              static_cast<size_t>(p.in * p.out) * 2 / 10);
  }
}

}  // namespace
}  // namespace eelsvae::emulated
