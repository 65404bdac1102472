#include "kernels/cpu/tile_adjoint.h"

#include <array>
#include <limits>

#include <omp.h>

#include "kernels/cpu/loops.h"
#include "kernels/cpu/tiles.h"

namespace eelsvae::cpu {
namespace {

constexpr int64_t block = 2 * tile_rows;  // positions at a time
constexpr int64_t most_taps = 128;

}  // namespace

bool TileAdjoint::can_do(const Conv3dProblem& p, DType activation) {
  return activation == DType::bf16 && p.out_channels % tile_depth == 0 && p.in_channels % block == 0 &&
         p.kernel.volume() <= most_taps && has_tiles();
}

TileAdjoint::TileAdjoint(const Conv3dProblem& problem) : p_(problem) {}

int64_t TileAdjoint::depth() const {
  return p_.out_channels / tile_depth;
}
int64_t TileAdjoint::columns() const {
  return p_.in_channels / tile_rows;
}
// For every tap a block of rows of y, with zeros outside the line.
int64_t TileAdjoint::scratch_bytes() const {
  return p_.kernel.volume() * block * p_.out_channels * static_cast<int64_t>(sizeof(bfloat16));
}
size_t TileAdjoint::workspace_bytes() const {
  return static_cast<size_t>(omp_get_max_threads() * scratch_bytes());
}
size_t TileAdjoint::packed_bytes() const {
  return static_cast<size_t>(p_.weight_count()) * sizeof(bfloat16);
}

// Tiles by tap, input channels, output channels; the last innermost.
void TileAdjoint::pack(const float* weights, void* packed) const {
  const int64_t taps = p_.kernel.volume();
  for_pieces(taps * columns(), 1, [&](int64_t index, int64_t, int64_t) {
    const int64_t tap = index / columns(), column = index % columns() * tile_rows;
    bfloat16* tile = static_cast<bfloat16*>(packed) + index * depth() * tile_numbers;
    for (int64_t oc = 0; oc < p_.out_channels; ++oc) {
      const float* row = weights + (oc * taps + tap) * p_.in_channels + column;
      for (int64_t c = 0; c < tile_rows; ++c) store(row[c], tile + oc / 2 * tile_depth + 2 * c + oc % 2);
    }
  });
}

void TileAdjoint::run(const bfloat16* y, const void* packed, const float* bias, bool relu, bfloat16* x,
                      void* workspace) const {
  const Extent3 in = p_.in, out = p_.out(), k = p_.kernel;
  const auto* weights = static_cast<const bfloat16*>(packed);
  const int64_t y_line = out.e * p_.out_channels, x_line = in.e * p_.in_channels,
                tap = k.e * p_.in_channels * p_.out_channels;
  // Which output along an axis a tap connects to input i; -1: none.
  const auto output = [](int64_t i, int64_t padding, int64_t kernel, int64_t stride, int64_t size) {
    const int64_t o = i + padding - kernel;
    return o < 0 || o % stride != 0 || o / stride >= size ? -1 : o / stride;
  };
#pragma omp parallel for schedule(dynamic) collapse(2)
  for (int64_t nh = 0; nh < p_.batch * in.h; ++nh)
    for (int64_t w = 0; w < in.w; ++w) {
      std::array<Source, most_taps> sources;
      int64_t count = 0;
      for (int64_t kh = 0; kh < k.h; ++kh)
        for (int64_t kw = 0; kw < k.w; ++kw) {
          const int64_t oh = output(nh % in.h, p_.padding.h, kh, p_.stride.h, out.h),
                        ow = output(w, p_.padding.w, kw, p_.stride.w, out.w);
          if (oh < 0 || ow < 0) continue;
          sources[static_cast<size_t>(count++)] = {y + ((nh / in.h * out.h + oh) * out.w + ow) * y_line,
                                                   weights + (kh * k.w + kw) * tap};
        }
      line(sources.data(), count, bias, relu, x + (nh * in.w + w) * x_line,
           static_cast<bfloat16*>(workspace) +
               omp_get_thread_num() * scratch_bytes() / static_cast<int64_t>(sizeof(bfloat16)));
    }
}

void TileAdjoint::line(const Source* sources, int64_t count, const float* bias, bool relu, bfloat16* x,
                       bfloat16* scratch) const {
  const int64_t s = p_.stride.e, channels = p_.out_channels, outputs = p_.out().e,
                tap_numbers = p_.in_channels * p_.out_channels;
  const float floor = relu ? 0.0f : -std::numeric_limits<float>::infinity();
  const TilesInUse in_use;
  for (int64_t r = 0; r < std::min(s, p_.in.e); ++r) {
    const int64_t positions = (p_.in.e - r + s - 1) / s;
    for (int64_t q = 0; q < positions; q += block) {
      std::array<TileProduct, most_taps> products;
      int64_t taps = 0;
      for (int64_t i = 0; i < count; ++i)
        for (int64_t ke = (r + p_.padding.e) % s; ke < p_.kernel.e; ke += s) {
          const int64_t first = q + (r + p_.padding.e - ke) / s;  // row of y
          if (first <= -block || first >= outputs) continue;
          const bfloat16* rows = sources[i].y + first * channels;
          if (first < 0 || first + block > outputs) {
            bfloat16* copy = scratch + taps * block * channels;
            const int64_t begin = std::max<int64_t>(0, -first), end = std::min(block, outputs - first);
            std::fill_n(copy, begin * channels, bfloat16(0.0f));
            std::copy(rows + begin * channels, rows + end * channels, copy + begin * channels);
            std::fill(copy + end * channels, copy + block * channels, bfloat16(0.0f));
            rows = copy;
          }
          products[static_cast<size_t>(taps++)] = {rows, sources[i].weights + ke * tap_numbers};
        }
      const int64_t kept = std::min(block, positions - q);
      for (int64_t column = 0; column < columns(); column += 2) {
        alignas(64) float sums[block * block];
        sum_tile_products(products.data(), taps, channels, depth(), column * depth() * tile_numbers, sums);
        store_sums(sums, kept, bias ? bias + column * tile_rows : nullptr, floor,
                   x + (r + q * s) * p_.in_channels + column * tile_rows, s * p_.in_channels);
      }
    }
  }
}

}  // namespace eelsvae::cpu
