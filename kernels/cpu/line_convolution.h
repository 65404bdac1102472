#pragma once

#include <cstddef>
#include <vector>

#include "kernels/conv3d.h"
#include "kernels/cpu/arithmetic.h"

namespace eelsvae::cpu {

// A convolution from an array of x's shape to one of y's, or its adjoint, which goes the other way: in f32 by
// vectors; in bf16 by tiles where there are registers for them, by dot products of pairs where there are
// those, else by vectors of floats that were bf16.
//
// A line of the destination is a sum over the taps (kh, kw) of what lines of the source give. Along the
// energy axis every `phases`-th position sees the same energy taps, and neighbours among them neighbouring
// positions of the source:
//   destination[r + q * phases, c] = sum over k of source[(q * step + first) * channels + k] * w[k, c]
// Windows of k are contiguous: left factors of products are lines of the source as they lie in memory. What
// multiplies them may take more k at a time than are left: weights beyond a window are 0, and its neighbours
// in the line have no weight (but NaN and infinity are none the less found there). A convolution has one
// phase and steps by its stride, its adjoint as many phases as its stride and steps by one.
class LineConvolution {
 public:
  enum class Direction { forward, adjoint };

  LineConvolution(const Conv3dProblem& problem, Direction direction, const Arithmetic& arithmetic);
  // The forward direction with lines of any origin (see LineSources).
  LineConvolution(const Conv3dProblem& problem, LineSources sources, const Arithmetic& arithmetic);

  size_t workspace_bytes() const;
  size_t packed_bytes() const;
  void pack(const float* weights, void* packed) const;
  // bias, of the destination's channels, may be null.
  void run(ConstArray source, const void* packed, const float* bias, bool relu, Array destination,
           void* workspace) const;

 private:
  // What the positions of one phase see: `taps` neighbouring positions of the source, from `first` on (it may
  // be negative). The window's position j has the energy tap tap + j * tap_step.
  struct Window {
    int64_t first, taps, tap, tap_step;
    int64_t depth = 0;   // of its products: taps * channels_, rounded up to what the kernel takes at a time
    int64_t offset = 0;  // the sum of the depths before this one
  };
  // A line of the source, and the weights of the tap (kh, kw) that sees it.
  template <typename T, typename Operand>
  struct Line {
    const T* source;
    const Operand* weights;
  };
  template <typename Kernel>
  class Lines;

  LineConvolution(const Conv3dProblem& problem, Direction direction, LineSources sources,
                  const Arithmetic& arithmetic);
  template <typename Kernel>
  void prepare();
  template <typename Kernel>
  void pack_as(const float* weights, typename Kernel::Operand* packed) const;
  template <typename Kernel>
  void run_as(ConstArray source, const void* packed, const float* bias, float floor, Array destination,
              void* workspace) const;
  template <typename Kernel>
  void run_line(const Kernel& kernel, Lines<Kernel>& lines, const float* bias, float floor,
                typename Kernel::Number* destination, typename Kernel::Operand* scratch) const;
  // Calls f(Kernel()) for the kernel that computes this convolution.
  template <typename F>
  void with_kernel(F&& f) const;
  template <typename Kernel, typename F>
  void for_blocks(const Window& window, int64_t phase, F&& f) const;

  Extent3 kernel_;
  Direction direction_;
  Arithmetic arithmetic_;
  int64_t channels_, energies_, columns_;  // of the source; its columns along w
  int64_t out_channels_, out_energies_;    // of the destination
  int64_t step_;                           // phases are as many as windows
  int64_t padded_;                         // out_channels in whole vectors
  std::vector<Window> windows_;            // by phase
  int64_t depth_ = 0;                      // of all windows together
  LineSources sources_;
  int64_t blocks_ = 0;         // of positions and channels, in a line
  int64_t scratch_count_ = 0;  // operands that a thread needs: what a block sees of every line
  size_t operand_bytes_ = 0;
  int threads_;  // that the workspace has room for
};

}  // namespace eelsvae::cpu
