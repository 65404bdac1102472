#include "kernels/cpu/line_convolution.h"

#include <algorithm>
#include <array>
#include <limits>
#include <type_traits>
#include <utility>

#include <omp.h>

#include "kernels/cpu/loops.h"
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
constexpr int64_t most_lines = 64;

// The left factor's first row and the weights of its window.
template <typename T>
struct Product {
  const T *rows, *weights;
};

// Rows of left factors are `pitch` apart and `depth` long, weights (depth, 32).
void compute_block(const Product<float>* products, int64_t count, int64_t pitch, int64_t depth,
                   const float* bias, float floor, int64_t kept, float* to, int64_t to_pitch) {
  constexpr int rows = positions_of_block<float>;
  Vector sums[rows][vectors];
  for (int v = 0; v < vectors; ++v) {
    const Vector start = bias ? load(bias + v * lanes) : Vector(0.0f);
#pragma GCC unroll 12
    for (int r = 0; r < rows; ++r) sums[r][v] = start;
  }
  for (const Product<float>* product = products; product < products + count; ++product) {
    const float *x = product->rows, *w = product->weights;
    for (int64_t k = 0; k < depth; ++k, ++x, w += channels_of_block) {
      Vector wv[vectors];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) wv[v] = load(w + v * lanes);
#pragma GCC unroll 12
      for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sums[r][v] += wv[v] * x[r * pitch];
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
                   const float* bias, float floor, int64_t kept, bfloat16* to, int64_t to_pitch) {
  std::array<TileProduct, most_lines> of_tiles;
  for (int64_t i = 0; i < count; ++i)
    of_tiles[static_cast<size_t>(i)] = {products[i].rows, products[i].weights};
  alignas(64) float sums[positions_of_block<bfloat16> * channels_of_block];
  sum_tile_products(of_tiles.data(), count, pitch, depth / tile_depth, sums);
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
    int64_t outside = 0;
    for_blocks(windows_[phase], static_cast<int64_t>(phase),
               [&](int64_t, int64_t, bool inside) { outside += !inside; });
    scratch_count_ =
        std::max(scratch_count_, outside * kernel_.h * kernel_.w * span(windows_[phase]) * channels_);
  }
}

// Calls f(first position of a block, how many of its positions exist, whether all it sees lies in the line).
template <typename F>
void LineConvolution::for_blocks(const Window& window, int64_t phase, F&& f) const {
  const int64_t phases = static_cast<int64_t>(windows_.size()),
                positions = (out_energies_ - phase + phases - 1) / phases;
  for (int64_t q = 0; q < positions; q += block_) {
    const int64_t begin = q * step_ + window.first;
    f(q, std::min(block_, positions - q), begin >= 0 && begin + span(window) <= energies_);
  }
}

size_t LineConvolution::workspace_bytes() const {
  return static_cast<size_t>(threads_ * scratch_count_) * size_of(activation_);
}
size_t LineConvolution::packed_bytes() const {
  return static_cast<size_t>(kernel_.volume() * channels_ * out_channels_) * size_of(activation_);
}

// By tap (kh, kw), then window, then 32 channels of the destination: in f32 as compute_block reads them, in
// bf16 two columns of tiles, each with the numbers of the window in pairs.
void LineConvolution::pack(const float* weights, void* packed) const {
  const bool forward = direction_ == Direction::forward;
  const int64_t blocks = out_channels_ / channels_of_block, taps = kernel_.h * kernel_.w;
  for_pieces(taps * blocks, 1, [&](int64_t index, int64_t, int64_t) {
    const int64_t tap = index / blocks, column = index % blocks * channels_of_block;
    for (const Window& window : windows_) {
      const int64_t depth = window.taps * channels_,
                    at = (tap * kernel_.e + window.offset) * channels_ * out_channels_ + column * depth;
      for (int64_t k = 0; k < depth; ++k)
        for (int64_t c = 0; c < channels_of_block; ++c) {
          const int64_t channel = k % channels_, ke = window.tap + k / channels_ * window.tap_step;
          const int64_t oc = forward ? column + c : channel, ic = forward ? channel : column + c;
          const float weight =
              weights[((oc * taps + tap) * kernel_.e + ke) * (forward ? channels_ : out_channels_) + ic];
          if (activation_ == DType::f32)
            static_cast<float*>(packed)[at + k * channels_of_block + c] = weight;
          else
            store(weight, static_cast<bfloat16*>(packed) + at + c / tile_rows * tile_rows * depth +
                              k / 2 * tile_depth + 2 * (c % tile_rows) + k % 2);
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
  const int64_t rows = static_cast<int64_t>(sources_.rows.size()) / kernel_.h,
                columns = static_cast<int64_t>(sources_.columns.size()) / kernel_.w;
#pragma omp parallel for schedule(dynamic) collapse(2) num_threads(threads_)
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column) {
      std::array<Line<T>, most_lines> lines;
      int64_t count = 0;
      for (int64_t kh = 0; kh < kernel_.h; ++kh)
        for (int64_t kw = 0; kw < kernel_.w; ++kw) {
          const int64_t from_row = sources_.rows[static_cast<size_t>(row * kernel_.h + kh)],
                        from_column = sources_.columns[static_cast<size_t>(column * kernel_.w + kw)];
          if (from_row < 0 || from_column < 0) continue;
          lines[static_cast<size_t>(count++)] = {
              source + (from_row * columns_ + from_column) * energies_ * channels_,
              weights + (kh * kernel_.w + kw) * kernel_.e * channels_ * out_channels_};
        }
      run_line(lines.data(), count, bias, floor,
               destination + (row * columns + column) * out_energies_ * out_channels_,
               scratch + omp_get_thread_num() * scratch_count_);
    }
}

template <typename T>
void LineConvolution::run_line(const Line<T>* lines, int64_t count, const float* bias, float floor,
                               T* destination, T* scratch) const {
  [[maybe_unused]] const InUse<T> in_use;
  const int64_t phases = static_cast<int64_t>(windows_.size());
  for (int64_t phase = 0; phase < phases; ++phase) {
    const Window& window = windows_[static_cast<size_t>(phase)];
    const int64_t depth = window.taps * channels_, copy_count = span(window) * channels_;
    // What a block sees beyond the line are zeros: such blocks read copies.
    T* copy = scratch;
    for_blocks(window, phase, [&](int64_t q, int64_t, bool inside) {
      if (inside) return;
      const int64_t begin = (q * step_ + window.first) * channels_,
                    first = std::clamp<int64_t>(-begin, 0, copy_count),
                    last = std::clamp(energies_ * channels_ - begin, first, copy_count);
      for (int64_t i = 0; i < count; ++i, copy += copy_count) {
        std::fill_n(copy, first, T(0.0f));
        std::copy(lines[i].source + begin + first, lines[i].source + begin + last, copy + first);
        std::fill(copy + last, copy + copy_count, T(0.0f));
      }
    });
    // The weights of a block of channels stay in the second-level cache while the positions run.
    for (int64_t column = 0; column < out_channels_; column += channels_of_block) {
      const T* copied = scratch;
      for_blocks(window, phase, [&](int64_t q, int64_t kept, bool inside) {
        std::array<Product<T>, most_lines> products;
        for (int64_t i = 0; i < count; ++i) {
          products[static_cast<size_t>(i)] = {
              inside ? lines[i].source + (q * step_ + window.first) * channels_ : copied + i * copy_count,
              lines[i].weights + window.offset * channels_ * out_channels_ + column * depth};
        }
        if (!inside) copied += count * copy_count;
        compute_block(products.data(), count, step_ * channels_, depth, bias ? bias + column : nullptr, floor,
                      kept, destination + (phase + q * phases) * out_channels_ + column,
                      phases * out_channels_);
      });
    }
  }
}

}  // namespace eelsvae::cpu
