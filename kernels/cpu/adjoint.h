#pragma once

#include <cstddef>

#include "kernels/conv3d.h"

namespace eelsvae::cpu {

// The adjoint of a convolution, from an array of y's shape to one of x's, in f32 by vectors or in bf16 by the
// tile registers of AMX: a transposed convolution's forward pass, a convolution's backward pass with respect
// to its input.
//
// The positions along the energy axis that leave the same remainder when divided by the stride see the same
// taps, and neighbours among them neighbouring outputs. So a line of them is a sum of products
//   x[r + q * stride, ic] = sum over taps of y[q + shift, oc] * w[oc, tap, ic]
// whose left factors are lines of y as they lie in memory.
class Adjoint {
 public:
  // Whether the processor has the registers and the channels fill them.
  static bool can_do(const Conv3dProblem& problem, DType activation);
  Adjoint(const Conv3dProblem& problem, DType activation);

  size_t workspace_bytes() const;
  size_t packed_bytes() const;
  void pack(const float* weights, void* packed) const;
  // bias (in_channels) may be null.
  void run(ConstArray y, const void* packed, const float* bias, bool relu, Array x, void* workspace) const;

 private:
  // What a line of x sees: a line of y, and the weights of a tap (kh, kw).
  template <typename T>
  struct Source {
    const T *y, *weights;
  };
  template <typename T>
  void run(const T* y, const T* weights, const float* bias, float floor, T* x, T* scratch) const;
  template <typename T>
  void line(const Source<T>* sources, int64_t count, const float* bias, float floor, T* x, T* scratch) const;
  int64_t scratch_count() const;  // numbers that a thread needs

  Conv3dProblem p_;
  DType activation_;
  int threads_;  // that the workspace has room for
};

}  // namespace eelsvae::cpu
