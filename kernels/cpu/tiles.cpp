#include "kernels/cpu/tiles.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels/cpu/vectors.h"
#include "kernels/transpose.h"

namespace eelsvae::cpu {
namespace {

// Two rows of 16 numbers in pairs.
[[gnu::target("avx512f,avx512bw")]] inline Words pairs_of(const bfloat16* first, const bfloat16* second) {
  const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first)),
                b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(second));
  return (Words)_mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}

[[gnu::target("avx512f,avx512bw")]] void transpose_tile(const bfloat16* values, int64_t pitch,
                                                        bfloat16* tile) {
  Words rows[16];
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r) rows[r] = pairs_of(values + 2 * r * pitch, values + (2 * r + 1) * pitch);
  transpose(rows);
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r) std::memcpy(tile + r * tile_depth, &rows[r], sizeof(Words));
}

// Two vectors of 16 numbers, one after the other.
[[gnu::target("avx512f,avx512bf16")]] inline Words rounded(const float* first, const float* second) {
  return (Words)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(second), _mm512_loadu_ps(first));
}

}  // namespace

[[gnu::target("avx512f,avx512bw,avx512bf16")]] void pack_tile(const float* values, int64_t pitch,
                                                              bfloat16* tile) {
  // The numbers of two rows take turns.
  alignas(64) uint16_t order[32];
  for (int i = 0; i < 32; ++i) order[i] = static_cast<uint16_t>(i / 2 + i % 2 * 16);
  const __m512i turns = _mm512_load_si512(order);
  for (int r = 0; r < tile_rows; ++r) {
    const Words rows = rounded(values + 2 * r * pitch, values + (2 * r + 1) * pitch);
    _mm512_storeu_si512(tile + r * tile_depth, _mm512_permutexvar_epi16(turns, (__m512i)rows));
  }
}

void transpose_to_tiles(const bfloat16* values, int64_t pitch, int64_t count, int64_t columns,
                        bfloat16* tiles) {
  for (int64_t column = 0; column < columns; column += tile_rows)
    for (int64_t begin = 0; begin < count; begin += tile_depth, tiles += tile_numbers) {
      const bfloat16* corner = values + begin * pitch + column;
      const int64_t deep = std::min(tile_depth, count - begin), wide = std::min(tile_rows, columns - column);
      if (deep == tile_depth && wide == tile_rows) {
        transpose_tile(corner, pitch, tiles);
      } else {
        bfloat16 whole[tile_numbers] = {};
        for (int64_t r = 0; r < deep; ++r) std::copy_n(corner + r * pitch, wide, whole + r * tile_rows);
        transpose_tile(whole, tile_rows, tiles);
      }
    }
}

[[gnu::target("avx512f,avx512bw")]] void interleave_to_tiles(const bfloat16* values, int64_t step,
                                                             int64_t columns, bfloat16* tiles,
                                                             int64_t tiles_pitch) {
  for (int64_t column = 0; column < columns; ++column, values += tile_rows, tiles += tiles_pitch) {
    const bfloat16* row = values;
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r, row += 2 * step) {
      const Words pairs = pairs_of(row, row + step);
      std::memcpy(tiles + r * tile_depth, &pairs, sizeof pairs);
    }
  }
}

[[gnu::target("avx512f,avx512bw,avx512bf16")]] void store_sums(const float* sums, int64_t rows,
                                                               int64_t columns, const float* bias,
                                                               float floor, bfloat16* values, int64_t pitch) {
  const auto wanted = static_cast<uint32_t>((uint64_t{1} << columns) - 1);
  const auto low = static_cast<__mmask16>(wanted), high = static_cast<__mmask16>(wanted >> 16);
  const __m512 lowest = _mm512_set1_ps(floor), zero = _mm512_setzero_ps(),
               b0 = bias ? _mm512_maskz_loadu_ps(low, bias) : zero,
               b1 = bias ? _mm512_maskz_loadu_ps(high, bias + 16) : zero;
  for (int64_t r = 0; r < rows; ++r, sums += 32, values += pitch) {
    // Of two operands the second is returned where one is no number.
    const __m512 first = _mm512_max_ps(lowest, _mm512_add_ps(_mm512_loadu_ps(sums), b0)),
                 second = _mm512_max_ps(lowest, _mm512_add_ps(_mm512_maskz_loadu_ps(high, sums + 16), b1));
    const auto both = (__m512i)_mm512_cvtne2ps_pbh(second, first);
    _mm512_mask_storeu_epi16(values, wanted, both);
  }
}

[[gnu::target("avx512f,avx512bw")]] void transpose_rows(const bfloat16* rows, int64_t pitch, int64_t count,
                                                        int64_t depth, bfloat16* tiles) {
  for (int64_t k = 0; k < depth; ++k, rows += tile_depth, tiles += tile_numbers) {
    Words words[16] = {};
    for (int64_t r = 0; r < count; ++r) std::memcpy(&words[r], rows + r * pitch, sizeof(Words));
    transpose(words);
    std::memcpy(static_cast<void*>(tiles), words, sizeof words);
  }
}

[[gnu::target("avx512f,avx512bw")]] void interleave_rows(const bfloat16* rows, int64_t pitch, int64_t columns,
                                                         bfloat16* tiles) {
  // The numbers of two rows take turns: the first 16 of each, and the last.
  alignas(64) uint16_t order[2][32];
  for (int i = 0; i < 32; ++i) {
    order[0][i] = static_cast<uint16_t>(i / 2 + i % 2 * 32);
    order[1][i] = static_cast<uint16_t>(order[0][i] + 16);
  }
  const __m512i first = _mm512_load_si512(order[0]), last = _mm512_load_si512(order[1]);
  for (int r = 0; r < tile_rows; ++r) {
    const bfloat16 *even = rows + 2 * r * pitch, *odd = even + pitch;
    bfloat16* to = tiles + r * tile_depth;
    for (int64_t c = 0; c < columns; c += 2 * tile_rows, to += 2 * tile_numbers) {
      const __m512i a = _mm512_loadu_si512(even + c), b = _mm512_loadu_si512(odd + c);
      _mm512_store_si512(to, _mm512_permutex2var_epi16(a, first, b));
      _mm512_store_si512(to + tile_numbers, _mm512_permutex2var_epi16(a, last, b));
    }
  }
}

}  // namespace eelsvae::cpu
