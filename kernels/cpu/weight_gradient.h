#pragma once

#include <cstddef>

#include "kernels/conv3d.h"
#include "kernels/cpu/arithmetic.h"

namespace eelsvae::cpu {

// The weight gradient of a convolution, gradient (out_channels, kh, kw, ke, in_channels) in f32, from x and
// the gradient y of its output, both in the activation type; sums are f32.
class WeightGradient {
 public:
  WeightGradient(const Conv3dProblem& problem, const Arithmetic& arithmetic);
  size_t workspace_bytes() const;
  void run(ConstArray x, ConstArray y, Array gradient, void* workspace) const;

 private:
  // A share of the work: one kh, some output channels, some lines (n, h) of the output.
  struct Task {
    int64_t kh, channel, channels, begin, end;
  };
  // The activation line (h, w) of x that a tap (kh, kw) of the output line nh, ow sees; -1: it lies outside.
  int64_t input_line(int64_t nh, int64_t ow, int64_t kh, int64_t kw) const;
  // Neighbouring outputs share lines: the first kw whose line the output before ow has not seen.
  int64_t first_new_line(int64_t ow) const;
  template <typename T>
  void add(const Task& task, const T* x, const T* y, float* gradient, float* scratch) const;
  void add_by_tiles(const Task& task, const bfloat16* x, const bfloat16* y, float* gradient,
                    float* scratch) const;
  int64_t scratch_count() const;  // floats that a thread needs

  Conv3dProblem p_;
  Arithmetic arithmetic_;
  int threads_;                                     // that the workspace has room for
  int64_t window_, stride_, step_, line_, before_;  // see weight_gradient.cpp
  int64_t channels_per_task_, blocks_;              // of output channels
  int64_t parts_;                                   // of the output's lines, with sums of their own
};

}  // namespace eelsvae::cpu
