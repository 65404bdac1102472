#pragma once

#include <cstddef>
#include <vector>

#include "kernels/conv3d.h"

namespace eelsvae::cpu {

// A convolution from an array of x's shape to one of y's, or its adjoint, which goes the other way, in f32 by
// vectors or in bf16 by the tile registers of AMX. oneDNN 2.6's own kernels for channels-last arrays lose up
// to half of the processor's rate where a kernel steps by two.
//
// A line of the destination is a sum over the taps (kh, kw) of what lines of the source give. Along the
// energy axis every `phases`-th position sees the same energy taps, and neighbours among them neighbouring
// positions of the source:
//   destination[r + q * phases, c] = sum over k of source[(q * step + first) * channels + k] * w[k, c]
// Windows of k are contiguous: left factors of products are lines of the source as they lie in memory. A
// convolution has one phase and steps by its stride, its adjoint as many phases as its stride and steps by
// one.
class LineConvolution {
 public:
  enum class Direction { forward, adjoint };

  // Whether the processor has the registers and the channels fill them. In both directions or in none.
  static bool can_do(const Conv3dProblem& problem, DType activation);
  LineConvolution(const Conv3dProblem& problem, Direction direction, DType activation);
  // The forward direction with lines of any origin (see LineSources).
  LineConvolution(const Conv3dProblem& problem, LineSources sources, DType activation);

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
    int64_t offset;  // number of taps in the windows before this one
  };
  // A line of the source, and the weights of the tap (kh, kw) that sees it.
  template <typename T>
  struct Line {
    const T *source, *weights;
  };
  LineConvolution(const Conv3dProblem& problem, Direction direction, LineSources sources, DType activation);
  template <typename T>
  void run(const T* source, const T* weights, const float* bias, float floor, T* destination,
           T* scratch) const;
  template <typename T>
  void run_line(const Line<T>* lines, int64_t count, const float* bias, float floor, T* destination,
                T* scratch) const;
  template <typename F>
  void for_blocks(const Window& window, int64_t phase, F&& f) const;
  // Positions of the source that a block of the destination sees.
  int64_t span(const Window& window) const { return (block_ - 1) * step_ + window.taps; }

  Extent3 kernel_;
  Direction direction_;
  DType activation_;
  int64_t channels_, energies_, columns_;  // of the source; its columns along w
  int64_t out_channels_, out_energies_;    // of the destination
  int64_t step_;                           // phases are as many as windows
  int64_t block_;                          // positions of the destination in a block
  std::vector<Window> windows_;            // by phase
  LineSources sources_;
  int64_t scratch_count_ = 0;  // numbers that a thread needs
  int threads_;                // that the workspace has room for
};

}  // namespace eelsvae::cpu
