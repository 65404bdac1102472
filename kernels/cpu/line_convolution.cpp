#include "kernels/cpu/line_convolution.h"

#include <algorithm>
#include <array>
#include <limits>
#include <type_traits>
#include <utility>

#include <omp.h>

#include "kernels/cpu/loops.h"
#include "kernels/cpu/streams.h"
#include "kernels/cpu/tiles.h"
#include "kernels/cpu/vectors.h"

namespace eelsvae::cpu {
namespace {

// A block of the result stays in registers while taps and source channels run: so many positions by so many
// channels.
template <typename T>
constexpr int64_t positions_of_block = 12;
template <>
constexpr int64_t positions_of_block<bfloat16> = 2 * tile_rows;
constexpr int64_t channels_of_block = 32, vectors = channels_of_block / lanes;
static_assert(channels_of_block == 2 * tile_rows);
constexpr int64_t most_lines = LineConvolution::most_lines;

// The left factor's first row, the weights of its window and what the thread should have near next.
template <typename T>
struct Product {
  const T *rows, *weights;
  const void* ahead;
};

// Rows of left factors are `pitch` apart and `depth` long, weights (depth, 32).
[[gnu::noinline]] void compute_block(const Product<float>* products, int64_t count, int64_t pitch,
                                     int64_t depth, int64_t ahead_lines, const float* bias, float floor,
                                     int64_t kept, float* to, int64_t to_pitch) {
  constexpr int rows = positions_of_block<float>, unrolled = 4, near = 8;
  Vector sums[rows][vectors];
  for (int v = 0; v < vectors; ++v) {
    const Vector start = bias ? load(bias + v * lanes) : Vector(0.0f);
#pragma GCC unroll 12
    for (int r = 0; r < rows; ++r) sums[r][v] = start;
  }
  for (const Product<float>* product = products; product < products + count; ++product) {
    const float *x = product->rows, *w = product->weights;
    if (product->ahead) fetch(product->ahead, ahead_lines);
    // Three rows at a time are reached from one pointer: a pointer for each would not fit the registers, and
    // compilers take the chance unless the relation is hidden from them.
    const float* groups[rows / 3] = {};
#pragma GCC unroll 4
    for (int g = 0; g < rows / 3; ++g) {
      groups[g] = x + 3 * g * pitch;
      asm("" : "+r"(groups[g]));
    }
    for (const float* end = w + depth * channels_of_block; w < end; w += unrolled * channels_of_block)
#pragma GCC unroll 4
      for (int k = 0; k < unrolled; ++k) {
        Vector wv[vectors];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) {
          wv[v] = load(w + k * channels_of_block + v * lanes);
          __builtin_prefetch(w + (k + near) * channels_of_block + v * lanes);
        }
#pragma GCC unroll 4
        for (int g = 0; g < rows / 3; ++g) {
#pragma GCC unroll 3
          for (int r = 0; r < 3; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; ++v) sums[3 * g + r][v] += wv[v] * groups[g][r * pitch];
          ++groups[g];
        }
      }
  }
  alignas(64) float block[rows][channels_of_block];
#pragma GCC unroll 12
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sums[r][v].copy_to(block[r] + v * lanes, stdx::vector_aligned);
  for (int64_t r = 0; r < kept; ++r)
    for (int64_t c = 0; c < channels_of_block; ++c)
      to[r * to_pitch + c] = block[r][c] < floor ? floor : block[r][c];  // keeps NaN
}

void compute_block(const Product<bfloat16>* products, int64_t count, int64_t pitch, int64_t depth,
                   int64_t ahead_lines, const float* bias, float floor, int64_t kept, bfloat16* to,
                   int64_t to_pitch) {
  std::array<TileProduct, most_lines> of_tiles;
  for (int64_t i = 0; i < count; ++i)
    of_tiles[static_cast<size_t>(i)] = {products[i].rows, products[i].weights, products[i].ahead};
  alignas(64) float sums[positions_of_block<bfloat16> * channels_of_block];
  sum_tile_products(of_tiles.data(), count, kept, pitch, depth / tile_depth, ahead_lines, sums);
  store_sums(sums, kept, bias, floor, to, to_pitch);
}

// What a thread holds while it works.
struct Nothing {};
template <typename T>
using InUse = std::conditional_t<std::is_same_v<T, bfloat16>, TilesInUse, Nothing>;

// The lines that every tap sees along an axis: convolution outputs' inputs, or the adjoint's.
std::vector<int64_t> sources_along(LineConvolution::Direction direction, int64_t in, int64_t out,
                                   int64_t kernel, int64_t stride, int64_t padding, int64_t batch) {
  const bool forward = direction == LineConvolution::Direction::forward;
  const int64_t from = forward ? in : out, to = forward ? out : in;
  std::vector<int64_t> sources;
  for (int64_t n = 0; n < batch; ++n)
    for (int64_t i = 0; i < to; ++i)
      for (int64_t k = 0; k < kernel; ++k) {
        const int64_t position = forward ? i * stride + k - padding : i + padding - k;
        const bool whole = forward || position % stride == 0;
        const int64_t source = forward ? position : position / stride;
        sources.push_back(position < 0 || !whole || source >= from ? -1 : n * from + source);
      }
  return sources;
}

LineSources sources_of(const Conv3dProblem& p, LineConvolution::Direction direction) {
  const Extent3 out = p.out();
  return {sources_along(direction, p.in.h, out.h, p.kernel.h, p.stride.h, p.padding.h, p.batch),
          sources_along(direction, p.in.w, out.w, p.kernel.w, p.stride.w, p.padding.w, 1)};
}

}  // namespace

bool LineConvolution::can_do(const Conv3dProblem& p, DType activation) {
  const bool registers = activation == DType::f32 ? lanes == 16 : has_tiles();
  return registers && p.in_channels % channels_of_block == 0 && p.out_channels % channels_of_block == 0 &&
         p.kernel.h * p.kernel.w <= most_lines;
}

LineConvolution::LineConvolution(const Conv3dProblem& problem, Direction direction, DType activation)
    : LineConvolution(problem, direction, sources_of(problem, direction), activation) {}
LineConvolution::LineConvolution(const Conv3dProblem& problem, LineSources sources, DType activation)
    : LineConvolution(problem, Direction::forward, std::move(sources), activation) {}

LineConvolution::LineConvolution(const Conv3dProblem& p, Direction direction, LineSources sources,
                                 DType activation)
    : kernel_(p.kernel),
      direction_(direction),
      activation_(activation),
      sources_(std::move(sources)),
      threads_(omp_get_max_threads()) {
  const bool forward = direction == Direction::forward;
  const Extent3 out = p.out();
  const int64_t stride = p.stride.e;
  channels_ = forward ? p.in_channels : p.out_channels;
  out_channels_ = forward ? p.out_channels : p.in_channels;
  energies_ = forward ? p.in.e : out.e;
  out_energies_ = forward ? out.e : p.in.e;
  columns_ = forward ? p.in.w : out.w;
  step_ = forward ? stride : 1;
  block_ = activation == DType::f32 ? positions_of_block<float> : positions_of_block<bfloat16>;
  rows_ = activation == DType::f32 ? positions_of_block<float> : tile_rows;
  if (forward) {
    windows_.push_back({-p.padding.e, kernel_.e, 0, 1, 0});
  } else {
    int64_t offset = 0;
    for (int64_t r = 0; r < std::min(stride, out_energies_); ++r) {
      // Taps ke with r + padding - ke a multiple of the stride; the last of them sees the first position.
      const int64_t lowest = (r + p.padding.e) % stride,
                    taps = lowest < kernel_.e ? (kernel_.e - 1 - lowest) / stride + 1 : 0,
                    last = lowest + (taps - 1) * stride;
      windows_.push_back({(r + p.padding.e - last) / stride, taps, last, -stride, offset});
      offset += taps;
    }
  }
  for (size_t phase = 0; phase < windows_.size(); ++phase) {
    int64_t blocks = 0, outside = 0;
    for_blocks(windows_[phase], static_cast<int64_t>(phase),
               [&](int64_t, int64_t, int64_t span, bool inside) { ++blocks, outside += inside ? 0 : span; });
    blocks_ += blocks * out_channels_ / channels_of_block;
    scratch_count_ = std::max(scratch_count_, outside * kernel_.h * kernel_.w * channels_);
  }
}

// Calls f(first position of a block, how many of its positions exist, how many positions of the source it
// reads, whether all of these lie in the line).
template <typename F>
void LineConvolution::for_blocks(const Window& window, int64_t phase, F&& f) const {
  const int64_t phases = static_cast<int64_t>(windows_.size()),
                positions = (out_energies_ - phase + phases - 1) / phases;
  for (int64_t q = 0; q < positions; q += block_) {
    const int64_t kept = std::min(block_, positions - q), rows = (kept + rows_ - 1) / rows_ * rows_,
                  begin = q * step_ + window.first, span = (rows - 1) * step_ + window.taps;
    f(q, kept, span, begin >= 0 && begin + span <= energies_);
  }
}

size_t LineConvolution::workspace_bytes() const {
  return static_cast<size_t>(threads_ * scratch_count_) * size_of(activation_);
}
size_t LineConvolution::packed_bytes() const {
  return static_cast<size_t>(kernel_.volume() * channels_ * out_channels_) * size_of(activation_);
}

// By tap (kh, kw), then window, then 32 channels of the destination: in f32 as compute_block reads them, in
// bf16 two columns of tiles.
void LineConvolution::pack(const float* weights, void* packed) const {
  const bool forward = direction_ == Direction::forward;
  const int64_t blocks = out_channels_ / channels_of_block, taps = kernel_.h * kernel_.w,
                in_channels = forward ? channels_ : out_channels_,
                pitch = taps * kernel_.e * in_channels;  // from an output channel to the next
  for_pieces(taps * blocks, 1, [&](int64_t index, int64_t, int64_t) {
    const int64_t tap = index / blocks, column = index % blocks * channels_of_block;
    for (const Window& window : windows_) {
      const int64_t depth = window.taps * channels_,
                    at = (tap * kernel_.e + window.offset) * channels_ * out_channels_ + column * depth;
      for (int64_t k = 0; k < depth; k += tile_depth) {
        const int64_t channel = k % channels_, ke = window.tap + k / channels_ * window.tap_step;
        const float* corner = weights + (tap * kernel_.e + ke) * in_channels +
                              (forward ? column * pitch + channel : channel * pitch + column);
        if (activation_ == DType::f32) {
          float* to = static_cast<float*>(packed) + at + k * channels_of_block;
          for (int64_t i = 0; i < tile_depth; ++i)
            for (int64_t c = 0; c < channels_of_block; ++c)
              to[i * channels_of_block + c] = forward ? corner[c * pitch + i] : corner[i * pitch + c];
        } else {
          bfloat16* to = static_cast<bfloat16*>(packed) + at + k * tile_rows;
          for (int64_t c = 0; c < channels_of_block; c += tile_rows)
            pack_tile(corner + c * (forward ? pitch : 1), pitch, forward, to + c * depth);
        }
      }
    }
  });
}

void LineConvolution::run(ConstArray source, const void* packed, const float* bias, bool relu,
                          Array destination, void* workspace) const {
  const float floor = relu ? 0.0f : -std::numeric_limits<float>::infinity();
  with_activation_type(activation_, [&]<typename T>(T) {
    run(source.as<T>(), static_cast<const T*>(packed), bias, floor, destination.as<T>(),
        static_cast<T*>(workspace));
  });
}

template <typename T>
void LineConvolution::run(const T* source, const T* weights, const float* bias, float floor, T* destination,
                          T* scratch) const {
  const int64_t columns = static_cast<int64_t>(sources_.columns.size()) / kernel_.w,
                count = static_cast<int64_t>(sources_.rows.size()) / kernel_.h * columns,
                line_count = energies_ * channels_, to_count = out_energies_ * out_channels_;
  constexpr int64_t number = sizeof(T);
  // Threads take several neighbouring lines at a time, for these share lines of the source.
  const int64_t chunk = std::max<int64_t>(1, count / (8 * threads_));
#pragma omp parallel for schedule(dynamic, chunk) num_threads(threads_)
  for (int64_t index = 0; index < count; ++index) {
    Lines<T> lines;
    NextLine ahead;
    const auto collect = [&](int64_t of, auto&& take) {
      for (int64_t kh = 0; kh < kernel_.h; ++kh)
        for (int64_t kw = 0; kw < kernel_.w; ++kw) {
          const int64_t row = sources_.rows[static_cast<size_t>(of / columns * kernel_.h + kh)],
                        column = sources_.columns[static_cast<size_t>(of % columns * kernel_.w + kw)];
          if (row >= 0 && column >= 0)
            take(kh * kernel_.w + kw, source + (row * columns_ + column) * line_count);
        }
    };
    collect(index, [&](int64_t tap, const T* line) {
      lines.add({line, weights + tap * kernel_.e * channels_ * out_channels_});
    });
    if (index + 1 < count)
      collect(index + 1, [&](int64_t, const T* line) {
        if (!lines.has(line)) ahead.add(line, line_count * number);
      });
    T* to = destination + index * to_count;
    if (index + 1 < count) ahead.add(to + to_count, to_count * number);
    run_line(lines, ahead, bias, floor, to, scratch + omp_get_thread_num() * scratch_count_);
  }
}

template <typename T>
void LineConvolution::run_line(const Lines<T>& lines, NextLine& ahead, const float* bias, float floor,
                               T* destination, T* scratch) const {
  [[maybe_unused]] const InUse<T> in_use;
  const int64_t phases = static_cast<int64_t>(windows_.size());
  // With each product some of the memory ahead comes near.
  const int64_t length = energies_ * channels_,
                ahead_lines = ahead.bytes() / std::max<int64_t>(1, lines.count * blocks_ * cache_line) + 1;
  for (int64_t phase = 0; phase < phases; ++phase) {
    const Window& window = windows_[static_cast<size_t>(phase)];
    const int64_t depth = window.taps * channels_;
    // What a block sees beyond the line are zeros: such blocks read copies.
    T* copy = scratch;
    for_blocks(window, phase, [&](int64_t q, int64_t, int64_t span, bool inside) {
      if (inside) return;
      const int64_t copy_count = span * channels_, begin = (q * step_ + window.first) * channels_;
      for (int64_t i = 0; i < lines.count; ++i, copy += copy_count)
        copy_window(lines.of[static_cast<size_t>(i)].source, length, begin, copy_count, copy);
    });
    // The weights of a block of channels stay in the second-level cache while the positions run.
    for (int64_t column = 0; column < out_channels_; column += channels_of_block) {
      const T* copied = scratch;
      for_blocks(window, phase, [&](int64_t q, int64_t kept, int64_t span, bool inside) {
        const int64_t copy_count = span * channels_;
        std::array<Product<T>, most_lines> products;
        for (int64_t i = 0; i < lines.count; ++i) {
          const Line<T>& line = lines.of[static_cast<size_t>(i)];
          products[static_cast<size_t>(i)] = {
              inside ? line.source + (q * step_ + window.first) * channels_ : copied + i * copy_count,
              line.weights + window.offset * channels_ * out_channels_ + column * depth,
              ahead.take(ahead_lines * cache_line)};
        }
        if (!inside) copied += lines.count * copy_count;
        compute_block(products.data(), lines.count, step_ * channels_, depth, ahead_lines,
                      bias ? bias + column : nullptr, floor, kept,
                      destination + (phase + q * phases) * out_channels_ + column, phases * out_channels_);
      });
    }
  }
}

}  // namespace eelsvae::cpu
