#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "kernels/conv3d.h"
#include "kernels/cpu/ahead.h"

namespace eelsvae::cpu {

// A convolution from an array of x's shape to one of y's, or its adjoint, which goes the other way, in f32 by
// vectors or in bf16 by the tile registers of AMX. oneDNN 2.6's kernels for channels-last arrays take up to
// one and a half times as long in bf16; in f32 its forward pass is some hundredths faster, but then gathered
// lines would have other bits.
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
  static constexpr int64_t most_lines = 64;  // that an output line sees
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
  template <typename T>
  struct Lines {
    std::array<Line<T>, most_lines> of;
    int64_t count = 0;
    void add(Line<T> line) { of[static_cast<size_t>(count++)] = line; }
    bool has(const T* source) const {
      return std::any_of(of.begin(), of.begin() + count,
                         [=](const Line<T>& l) { return l.source == source; });
    }
  };
  LineConvolution(const Conv3dProblem& problem, Direction direction, LineSources sources, DType activation);
  template <typename T>
  void run(const T* source, const T* weights, const float* bias, float floor, T* destination,
           T* scratch) const;
  using NextLine = Ahead<most_lines + 1>;
  template <typename T>
  void run_line(const Lines<T>& lines, NextLine& ahead, const float* bias, float floor, T* destination,
                T* scratch) const;
  template <typename F>
  void for_blocks(const Window& window, int64_t phase, F&& f) const;

  Extent3 kernel_;
  Direction direction_;
  DType activation_;
  int64_t channels_, energies_, columns_;  // of the source; its columns along w
  int64_t out_channels_, out_energies_;    // of the destination
  int64_t step_;                           // phases are as many as windows
  int64_t block_, rows_;                   // positions of the destination in a block, and computed together
  std::vector<Window> windows_;            // by phase
  LineSources sources_;
  int64_t blocks_ = 0;         // of positions and channels, in a line
  int64_t scratch_count_ = 0;  // numbers that a thread needs
  int threads_;                // that the workspace has room for
};

}  // namespace eelsvae::cpu
