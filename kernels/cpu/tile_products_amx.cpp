#include <immintrin.h>

#include <algorithm>

#include "kernels/cpu/loops.h"
#include "kernels/cpu/tile_products.h"

namespace eelsvae::cpu {
namespace {

struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};  // sums in tiles 0 to 3, left factors in 4 and 5
};

void begin(int64_t left_rows) {
  TileShapes shapes;
  std::fill_n(shapes.rows, 6, static_cast<uint8_t>(left_rows));
  // GCC 12's own _tile_loadconfig says that it reads eight bytes.
  asm volatile("ldtilecfg %0" ::"m"(shapes));
}

void end() {
  asm volatile("tilerelease");
}

[[gnu::target("amx-tile,amx-bf16")]] void add_products(const TilePair* products, int64_t count, int64_t rows,
                                                       int64_t depth, int64_t columns,
                                                       TilePrefetchQueue& ahead, int64_t ahead_lines,
                                                       float* sums, int64_t stride) {
  constexpr int row_bytes = 64;
  const int64_t pitch = stride * static_cast<int64_t>(sizeof(float)), length = depth * tile_numbers,
                each = (ahead_lines + count * depth - 1) / (count * depth);
  // Two by two tiles of sums, so that each tile of a factor is used twice; at an odd end one by one.
  for (int64_t r = 0; r < rows; r += 2)
    for (int64_t c = 0; c < columns; c += 2) {
      float* s = sums + r * tile_rows * stride + c * tile_rows;
      float* t = s + tile_rows * stride;
      const bool two_rows = r + 1 < rows, two_columns = c + 1 < columns;
      const char* next = static_cast<const char*>(ahead.take(ahead_lines * cache_line));
      if (two_rows && two_columns) {
        _tile_loadd(0, s, pitch);
        _tile_loadd(1, s + tile_rows, pitch);
        _tile_loadd(2, t, pitch);
        _tile_loadd(3, t + tile_rows, pitch);
        for (const TilePair* product = products; product < products + count; ++product) {
          const bfloat16 *l = product->left + r * length, *m = l + length, *p = product->right + c * length,
                         *q = p + length;
          for (int64_t k = 0; k < length; k += tile_numbers) {
            _tile_loadd(4, l + k, row_bytes);
            _tile_loadd(6, p + k, row_bytes);
            _tile_loadd(7, q + k, row_bytes);
            if (next) {
              fetch(next, each);
              next += each * cache_line;
            }
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, m + k, row_bytes);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
          }
        }
        _tile_stored(0, s, pitch);
        _tile_stored(1, s + tile_rows, pitch);
        _tile_stored(2, t, pitch);
        _tile_stored(3, t + tile_rows, pitch);
        continue;
      }
      for (int i = 0; i < 1 + two_rows; ++i)
        for (int j = 0; j < 1 + two_columns; ++j) {
          float* sum = (i ? t : s) + j * tile_rows;
          _tile_loadd(0, sum, pitch);
          for (const TilePair* product = products; product < products + count; ++product)
            for (int64_t k = 0; k < length; k += tile_numbers) {
              _tile_loadd(4, product->left + (r + i) * length + k, row_bytes);
              _tile_loadd(6, product->right + (c + j) * length + k, row_bytes);
              _tile_dpbf16ps(0, 4, 6);
            }
          _tile_stored(0, sum, pitch);
        }
    }
}

[[gnu::target("amx-tile,amx-bf16,avx512f")]] void multiply_rows(const bfloat16* rows, int64_t pitch,
                                                                const bfloat16* tiles, int64_t depth,
                                                                float* sums) {
  constexpr int row_bytes = 64;
  const int64_t rows_pitch = pitch * static_cast<int64_t>(sizeof(bfloat16));
  // Two sums, so that products need not wait for each other.
  _tile_zero(0);
  _tile_zero(1);
  int64_t k = 0;
  for (; k + 2 <= depth; k += 2, rows += 2 * tile_depth, tiles += 2 * tile_numbers) {
    _tile_loadd(4, rows, rows_pitch);
    _tile_loadd(6, tiles, row_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, rows + tile_depth, rows_pitch);
    _tile_loadd(7, tiles + tile_numbers, row_bytes);
    _tile_dpbf16ps(1, 5, 7);
  }
  if (k < depth) {
    _tile_loadd(4, rows, rows_pitch);
    _tile_loadd(6, tiles, row_bytes);
    _tile_dpbf16ps(0, 4, 6);
  }
  alignas(64) float second[tile_rows * tile_rows];
  _tile_stored(0, sums, row_bytes);
  _tile_stored(1, second, row_bytes);
  for (int64_t i = 0; i < tile_rows * tile_rows; i += 16)
    _mm512_storeu_ps(sums + i, _mm512_add_ps(_mm512_loadu_ps(sums + i), _mm512_loadu_ps(second + i)));
}

[[gnu::target("amx-tile,amx-bf16,avx512f")]] void add_weighted_rows(int64_t, const bfloat16* left,
                                                                    const bfloat16* rows, int64_t pitch,
                                                                    int64_t columns, float* sums,
                                                                    int64_t stride) {
  constexpr int row_bytes = 64;
  const int64_t sums_pitch = stride * static_cast<int64_t>(sizeof(float));
  alignas(64) bfloat16 tiles[columns_at_a_time * tile_depth];
  _tile_loadd(4, left, row_bytes);
  for (int64_t begin = 0; begin < columns; begin += columns_at_a_time) {
    const int64_t width = std::min(columns_at_a_time, columns - begin);
    interleave_rows(rows + begin, pitch, width, tiles);
    const bfloat16* tile = tiles;
    for (int64_t c = begin; c < begin + width; c += 2 * tile_rows, tile += 2 * tile_numbers) {
      _tile_loadd(0, sums + c, sums_pitch);
      _tile_loadd(1, sums + c + tile_rows, sums_pitch);
      _tile_loadd(6, tile, row_bytes);
      _tile_loadd(7, tile + tile_numbers, row_bytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_stored(0, sums + c, sums_pitch);
      _tile_stored(1, sums + c + tile_rows, sums_pitch);
    }
  }
}

template <bool TwoColumns>
[[gnu::target("amx-tile,amx-bf16")]] void sum_columns(const TileProduct* products, int64_t count,
                                                      int64_t rows, int64_t pitch, int64_t depth,
                                                      int64_t ahead_lines, float* sums) {
  constexpr int row_bytes = 64;
  constexpr int64_t wide = 2 * tile_rows, sums_pitch = wide * sizeof(float);
  const int64_t rows_pitch = pitch * static_cast<int64_t>(sizeof(bfloat16)),
                each = depth > 0 ? (ahead_lines + depth - 1) / depth : 0;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (const TileProduct* product = products; product < products + count; ++product) {
    const bfloat16 *l = product->rows, *m = l + tile_rows * pitch, *p = product->tiles,
                   *q = p + depth * tile_numbers;
    const char* ahead = static_cast<const char*>(product->ahead);
    for (int64_t k = 0; k < depth;
         ++k, l += tile_depth, m += tile_depth, p += tile_numbers, q += tile_numbers) {
      _tile_loadd(4, l, rows_pitch);
      _tile_loadd(6, p, row_bytes);
      if constexpr (TwoColumns) _tile_loadd(7, q, row_bytes);
      // A few lines at a time: many at once would keep the loads of tiles waiting.
      if (ahead) {
        fetch(ahead, each);
        ahead += each * cache_line;
      }
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (TwoColumns) _tile_dpbf16ps(1, 4, 7);
      if (rows <= tile_rows) continue;
      _tile_loadd(5, m, rows_pitch);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (TwoColumns) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, sums, sums_pitch);
  if constexpr (TwoColumns) _tile_stored(1, sums + tile_rows, sums_pitch);
  if (rows <= tile_rows) return;
  _tile_stored(2, sums + tile_rows * wide, sums_pitch);
  if constexpr (TwoColumns) _tile_stored(3, sums + tile_rows * wide + tile_rows, sums_pitch);
}

}  // namespace

void sum_tile_products(const TileProduct* products, int64_t count, int64_t rows, int64_t columns,
                       int64_t pitch, int64_t depth, int64_t ahead_lines, float* sums) {
  (columns > tile_rows ? sum_columns<true> : sum_columns<false>)(products, count, rows, pitch, depth,
                                                                 ahead_lines, sums);
}

[[gnu::target("amx-tile,amx-bf16")]] float multiply_tiles(int64_t rounds) {
  begin(tile_rows);
  alignas(64) bfloat16 half[tile_numbers];
  std::fill_n(half, tile_numbers, bfloat16(0.5f));
  alignas(64) float sums[tile_rows * tile_rows];
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, half, 64);
  _tile_loadd(5, half, 64);
  _tile_loadd(6, half, 64);
  _tile_loadd(7, half, 64);
  for (int64_t r = 0; r < rounds; ++r) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, sums, 64);
  end();
  return sums[0];
}

const TileOperations by_tile_registers = {add_products, multiply_rows, add_weighted_rows, begin, end};

}  // namespace eelsvae::cpu
