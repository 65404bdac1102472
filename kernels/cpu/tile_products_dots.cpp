#include <immintrin.h>

#include <algorithm>

#include "kernels/cpu/dot_products.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/tile_products.h"

namespace eelsvae::cpu {
namespace {

constexpr int64_t pairs = tile_depth / 2;

// sums[8 rows, 16 Columns] += products: half a tile of rows by a few tiles of columns.
template <int Columns>
[[gnu::noinline]] void add_half_tile(const TilePair* products, int64_t count, int64_t left, int64_t right,
                                     int64_t depth, float* sums, int64_t stride) {
  constexpr int rows = 8;
  __m512 sum[rows][Columns];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 3
    for (int c = 0; c < Columns; ++c) sum[r][c] = _mm512_loadu_ps(sums + r * stride + c * tile_rows);
  const int64_t length = depth * tile_numbers;
  for (const TilePair* product = products; product < products + count; ++product) {
    const bfloat16 *l = product->left + left, *w = product->right + right;
    for (int64_t k = 0; k < depth; ++k, l += tile_numbers - tile_depth)
#pragma GCC unroll 2
      for (int64_t pair = 0; pair < pairs; ++pair, l += 2, w += 2 * tile_rows) {
        __m512i wv[Columns];
#pragma GCC unroll 3
        for (int c = 0; c < Columns; ++c) wv[c] = load_pairs(w + c * length);
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r)
#pragma GCC unroll 3
          for (int c = 0; c < Columns; ++c) sum[r][c] = add_dots(sum[r][c], l + r * tile_depth, wv[c]);
      }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 3
    for (int c = 0; c < Columns; ++c) _mm512_storeu_ps(sums + r * stride + c * tile_rows, sum[r][c]);
}

void add_products(const TilePair* products, int64_t count, int64_t rows, int64_t depth, int64_t columns,
                  TilePrefetchQueue& ahead, int64_t ahead_lines, float* sums, int64_t stride) {
  const int64_t length = depth * tile_numbers;
  for (int64_t c = 0, width; c < columns; c += width) {
    // Four are twice two: a tile alone spends as much on loading as on multiplying.
    const int64_t left = columns - c;
    width = left == 4 ? 2 : std::min<int64_t>(left, 3);
    const auto add = width == 1 ? add_half_tile<1> : width == 2 ? add_half_tile<2> : add_half_tile<3>;
    for (int64_t r = 0; r < rows; ++r) {
      // `ahead_lines` are meant for four tiles of sums.
      const int64_t lines = ahead_lines * width / 4 + 1;
      if (const void* next = ahead.take(lines * cache_line)) fetch(next, lines);
      for (int64_t half = 0; half < 2; ++half)
        add(products, count, r * length + half * tile_numbers / 2, c * length, depth,
            sums + (r * tile_rows + half * tile_rows / 2) * stride + c * tile_rows, stride);
    }
  }
}

void multiply_rows(const bfloat16* rows, int64_t pitch, const bfloat16* tiles, int64_t depth, float* sums) {
  __m512 sum[tile_rows];
#pragma GCC unroll 16
  for (int r = 0; r < tile_rows; ++r) sum[r] = _mm512_setzero_ps();
  const bfloat16* groups[tile_rows / 4];
#pragma GCC unroll 4
  for (int g = 0; g < tile_rows / 4; ++g) {
    groups[g] = rows + 4 * g * pitch;
    asm("" : "+r"(groups[g]));
  }
  const int64_t thrice = 3 * pitch;
  for (const bfloat16* end = tiles + depth * tile_numbers; tiles < end; tiles += 2 * tile_rows) {
    const __m512i right = load_pairs(tiles);
#pragma GCC unroll 4
    for (int g = 0; g < tile_rows / 4; ++g) {
      const bfloat16* x = groups[g];
      const bfloat16* four[4] = {x, x + pitch, x + 2 * pitch, x + thrice};
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) sum[4 * g + r] = add_dots(sum[4 * g + r], four[r], right);
      groups[g] += 2;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < tile_rows; ++r) _mm512_storeu_ps(sums + r * tile_rows, sum[r]);
}

// sums[Rows, 32] += left * two tiles.
template <int Rows>
inline void add_rows(const bfloat16* left, const bfloat16* tiles, float* sums, int64_t stride) {
  __m512 sum[Rows][2];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    sum[r][0] = _mm512_loadu_ps(sums + r * stride);
    sum[r][1] = _mm512_loadu_ps(sums + r * stride + tile_rows);
  }
#pragma GCC unroll 4
  for (int64_t pair = 0; pair < pairs; ++pair) {
    const __m512i w0 = load_pairs(tiles + pair * 2 * tile_rows),
                  w1 = load_pairs(tiles + tile_numbers + pair * 2 * tile_rows);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      sum[r][0] = add_dots(sum[r][0], left + r * tile_depth + 2 * pair, w0);
      sum[r][1] = add_dots(sum[r][1], left + r * tile_depth + 2 * pair, w1);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    _mm512_storeu_ps(sums + r * stride, sum[r][0]);
    _mm512_storeu_ps(sums + r * stride + tile_rows, sum[r][1]);
  }
}

void add_weighted_rows(int64_t count, const bfloat16* left, const bfloat16* rows, int64_t pitch,
                       int64_t columns, float* sums, int64_t stride) {
  alignas(64) bfloat16 tiles[columns_at_a_time * tile_depth];
  for (int64_t begin = 0; begin < columns; begin += columns_at_a_time) {
    const int64_t width = std::min(columns_at_a_time, columns - begin);
    interleave_rows(rows + begin, pitch, width, tiles);
    for (int64_t c = 0; c < width; c += 2 * tile_rows) {
      const bfloat16* two = tiles + c * tile_depth;
      float* s = sums + begin + c;
      int64_t r = 0;
      for (; r + 8 <= count; r += 8) add_rows<8>(left + r * tile_depth, two, s + r * stride, stride);
      for (; r + 2 <= count; r += 2) add_rows<2>(left + r * tile_depth, two, s + r * stride, stride);
      for (; r < count; ++r) add_rows<1>(left + r * tile_depth, two, s + r * stride, stride);
    }
  }
}

}  // namespace

const TileOperations by_dot_products = {add_products, multiply_rows, add_weighted_rows, [](int64_t) {},
                                        [] {}};

const TileOperations* tile_operations(InstructionSet set) {
  if (set == InstructionSet::amx) return &by_tile_registers;
  return set == InstructionSet::avx512_bf16 ? &by_dot_products : nullptr;
}

}  // namespace eelsvae::cpu
