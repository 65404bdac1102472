#pragma once

#include <cstddef>

#include "kernels/conv3d.h"

namespace eelsvae::cpu {

// The adjoint of a convolution, from an array of y's shape to one of x's, by the tile registers of AMX in
// bf16: a transposed convolution's forward pass, a convolution's backward pass with respect to its input.
//
// The positions along the energy axis that leave the same remainder when divided by the stride see the same
// taps, and neighbours among them neighbouring outputs. So a line of them is a sum of products
//   x[r + q * stride, ic] = sum over taps of y[q + shift, oc] * w[oc, tap, ic]
// whose left factors are lines of y as they lie in memory.
class TileAdjoint {
 public:
  // Whether the processor has tiles and the channels fill them.
  static bool can_do(const Conv3dProblem& problem, DType activation);
  explicit TileAdjoint(const Conv3dProblem& problem);

  size_t workspace_bytes() const;
  size_t packed_bytes() const;
  void pack(const float* weights, void* packed) const;
  // bias (in_channels) may be null.
  void run(const bfloat16* y, const void* packed, const float* bias, bool relu, bfloat16* x,
           void* workspace) const;

 private:
  // What a line of x sees: a line of y, and the weights of a tap (kh, kw).
  struct Source {
    const bfloat16 *y, *weights;
  };
  int64_t depth() const;    // tiles along the output channels
  int64_t columns() const;  // along the input channels
  int64_t scratch_bytes() const;
  void line(const Source* sources, int64_t count, const float* bias, bool relu, bfloat16* x,
            bfloat16* scratch) const;

  Conv3dProblem p_;
};

}  // namespace eelsvae::cpu
