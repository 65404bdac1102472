#include "kernels/cpu/adjoint.h"

#include <array>
#include <limits>
#include <type_traits>

#include <omp.h>

#include "kernels/cpu/loops.h"
#include "kernels/cpu/tiles.h"
#include "kernels/cpu/vectors.h"

namespace eelsvae::cpu {
namespace {

// A block of the result stays in registers while taps and output channels run: so many positions by so many
// input channels.
template <typename T>
constexpr int64_t positions_of_block = 12;
template <>
constexpr int64_t positions_of_block<bfloat16> = 2 * tile_rows;
constexpr int64_t channels_of_block = 32, vectors = channels_of_block / lanes;
static_assert(channels_of_block == 2 * tile_rows);
constexpr int64_t most_taps = 128;

// The left factor's rows, `channels` numbers each, and the weights of its tap.
template <typename T>
struct Product {
  const T *rows, *weights;
};

// Weights of a tap are (in_channels / 32, out_channels, 32).
void compute_block(const Product<float>* products, int64_t count, int64_t channels, int64_t column,
                   const float* bias, float floor, int64_t kept, float* x, int64_t pitch) {
  constexpr int rows = positions_of_block<float>;
  Vector sums[rows][vectors];
  for (int v = 0; v < vectors; ++v) {
    const Vector start = bias ? load(bias + v * lanes) : Vector(0.0f);
#pragma GCC unroll 12
    for (int r = 0; r < rows; ++r) sums[r][v] = start;
  }
  for (const Product<float>* product = products; product < products + count; ++product) {
    const float *y = product->rows, *w = product->weights + column * channels;
    for (int64_t c = 0; c < channels; ++c, w += channels_of_block) {
      Vector wv[vectors];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) wv[v] = load(w + v * lanes);
#pragma GCC unroll 12
      for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sums[r][v] += wv[v] * y[r * channels + c];
    }
  }
  alignas(64) float block[rows][channels_of_block];
#pragma GCC unroll 12
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sums[r][v].copy_to(block[r] + v * lanes, stdx::vector_aligned);
  for (int64_t r = 0; r < kept; ++r)
    for (int64_t c = 0; c < channels_of_block; ++c)
      x[r * pitch + c] = block[r][c] < floor ? floor : block[r][c];  // keeps NaN
}

void compute_block(const Product<bfloat16>* products, int64_t count, int64_t channels, int64_t column,
                   const float* bias, float floor, int64_t kept, bfloat16* x, int64_t pitch) {
  std::array<TileProduct, most_taps> of_tiles;
  for (int64_t i = 0; i < count; ++i)
    of_tiles[static_cast<size_t>(i)] = {products[i].rows, products[i].weights + column * channels};
  alignas(64) float sums[positions_of_block<bfloat16> * channels_of_block];
  sum_tile_products(of_tiles.data(), count, channels, channels / tile_depth, sums);
  store_sums(sums, kept, bias, floor, x, pitch);
}

// What a thread holds while it works.
struct Nothing {};
template <typename T>
using InUse = std::conditional_t<std::is_same_v<T, bfloat16>, TilesInUse, Nothing>;

}  // namespace

bool Adjoint::can_do(const Conv3dProblem& p, DType activation) {
  const bool registers = activation == DType::f32 ? lanes == 16 : has_tiles();
  return registers && p.out_channels % tile_depth == 0 && p.in_channels % channels_of_block == 0 &&
         p.kernel.volume() <= most_taps;
}

Adjoint::Adjoint(const Conv3dProblem& problem, DType activation)
    : p_(problem), activation_(activation), threads_(omp_get_max_threads()) {}

// For every tap a block of rows of y, with zeros outside the line.
int64_t Adjoint::scratch_count() const {
  return p_.kernel.volume() * positions_of_block<bfloat16> * p_.out_channels;
}
size_t Adjoint::workspace_bytes() const {
  return static_cast<size_t>(threads_ * scratch_count()) * size_of(activation_);
}
size_t Adjoint::packed_bytes() const {
  return static_cast<size_t>(p_.weight_count()) * size_of(activation_);
}

// By tap, then 32 input channels: in f32 as compute_block reads them, in bf16 two columns of tiles, each with
// the output channels in pairs.
void Adjoint::pack(const float* weights, void* packed) const {
  const int64_t taps = p_.kernel.volume(), blocks = p_.in_channels / channels_of_block,
                channels = p_.out_channels;
  for_pieces(taps * blocks, 1, [&](int64_t index, int64_t, int64_t) {
    const int64_t tap = index / blocks, column = index % blocks * channels_of_block;
    const auto row = [&](int64_t oc) { return weights + (oc * taps + tap) * p_.in_channels + column; };
    if (activation_ == DType::f32) {
      float* to = static_cast<float*>(packed) + index * channels * channels_of_block;
      for (int64_t oc = 0; oc < channels; ++oc)
        std::copy_n(row(oc), channels_of_block, to + oc * channels_of_block);
    } else {
      bfloat16* to = static_cast<bfloat16*>(packed) + index * channels * channels_of_block;
      for (int64_t oc = 0; oc < channels; ++oc)
        for (int64_t c = 0; c < channels_of_block; ++c)
          store(row(oc)[c], to + c / tile_rows * tile_rows * channels + oc / 2 * tile_depth +
                                2 * (c % tile_rows) + oc % 2);
    }
  });
}

void Adjoint::run(ConstArray y, const void* packed, const float* bias, bool relu, Array x,
                  void* workspace) const {
  const float floor = relu ? 0.0f : -std::numeric_limits<float>::infinity();
  with_activation_type(activation_, [&]<typename T>(T) {
    run(y.as<T>(), static_cast<const T*>(packed), bias, floor, x.as<T>(), static_cast<T*>(workspace));
  });
}

template <typename T>
void Adjoint::run(const T* y, const T* weights, const float* bias, float floor, T* x, T* scratch) const {
  const Extent3 in = p_.in, out = p_.out(), k = p_.kernel;
  const int64_t y_line = out.e * p_.out_channels, x_line = in.e * p_.in_channels,
                tap = k.e * p_.in_channels * p_.out_channels;
  // Which output along an axis a tap connects to input i; -1: none.
  const auto output = [](int64_t i, int64_t padding, int64_t kernel, int64_t stride, int64_t size) {
    const int64_t o = i + padding - kernel;
    return o < 0 || o % stride != 0 || o / stride >= size ? -1 : o / stride;
  };
#pragma omp parallel for schedule(dynamic) collapse(2) num_threads(threads_)
  for (int64_t nh = 0; nh < p_.batch * in.h; ++nh)
    for (int64_t w = 0; w < in.w; ++w) {
      std::array<Source<T>, most_taps> sources;
      int64_t count = 0;
      for (int64_t kh = 0; kh < k.h; ++kh)
        for (int64_t kw = 0; kw < k.w; ++kw) {
          const int64_t oh = output(nh % in.h, p_.padding.h, kh, p_.stride.h, out.h),
                        ow = output(w, p_.padding.w, kw, p_.stride.w, out.w);
          if (oh < 0 || ow < 0) continue;
          sources[static_cast<size_t>(count++)] = {y + ((nh / in.h * out.h + oh) * out.w + ow) * y_line,
                                                   weights + (kh * k.w + kw) * tap};
        }
      line(sources.data(), count, bias, floor, x + (nh * in.w + w) * x_line,
           scratch + omp_get_thread_num() * scratch_count());
    }
}

template <typename T>
void Adjoint::line(const Source<T>* sources, int64_t count, const float* bias, float floor, T* x,
                   T* scratch) const {
  constexpr int64_t block = positions_of_block<T>;
  const int64_t s = p_.stride.e, channels = p_.out_channels, outputs = p_.out().e,
                tap_numbers = p_.in_channels * p_.out_channels;
  [[maybe_unused]] const InUse<T> in_use;
  for (int64_t r = 0; r < std::min(s, p_.in.e); ++r) {
    const int64_t positions = (p_.in.e - r + s - 1) / s;
    for (int64_t q = 0; q < positions; q += block) {
      std::array<Product<T>, most_taps> products;
      int64_t taps = 0;
      for (int64_t i = 0; i < count; ++i)
        for (int64_t ke = (r + p_.padding.e) % s; ke < p_.kernel.e; ke += s) {
          const int64_t first = q + (r + p_.padding.e - ke) / s;  // row of y
          if (first <= -block || first >= outputs) continue;
          const T* rows = sources[i].y + first * channels;
          if (first < 0 || first + block > outputs) {
            T* copy = scratch + taps * block * channels;
            const int64_t begin = std::max<int64_t>(0, -first), end = std::min(block, outputs - first);
            std::fill_n(copy, begin * channels, T(0.0f));
            std::copy(rows + begin * channels, rows + end * channels, copy + begin * channels);
            std::fill(copy + end * channels, copy + block * channels, T(0.0f));
            rows = copy;
          }
          products[static_cast<size_t>(taps++)] = {rows, sources[i].weights + ke * tap_numbers};
        }
      for (int64_t column = 0; column < p_.in_channels; column += channels_of_block)
        compute_block(products.data(), taps, channels, column, bias ? bias + column : nullptr, floor,
                      std::min(block, positions - q), x + (r + q * s) * p_.in_channels + column,
                      s * p_.in_channels);
    }
  }
}

}  // namespace eelsvae::cpu
