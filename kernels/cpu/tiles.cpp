#include "kernels/cpu/tiles.h"

#include <algorithm>
#include <cstring>

#include <dnnl.hpp>

#include "kernels/cpu/loops.h"

#ifdef __x86_64__
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace eelsvae::cpu {

#ifdef __x86_64__

bool has_tiles() {
  constexpr long request_permission = 0x1023, tile_data = 18;
  static const bool answer = [] {
    const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa()),
               tiles = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_amx);
    return (isa & tiles) == tiles && syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
  }();
  return answer;
}

namespace {

using Words = uint32_t __attribute__((vector_size(64)));

// Two rows of 16 numbers in pairs.
[[gnu::target("avx512f,avx512bw")]] inline Words pairs_of(const bfloat16* first, const bfloat16* second) {
  const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first)),
                b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(second));
  return (Words)_mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}

// Exchanges the bit `Bit` of the rows' and the columns' numbers.
template <int Bit>
[[gnu::target("avx512f"), gnu::always_inline]] inline void exchange(Words* rows) {
  Words low, high;
  for (int column = 0; column < 16; ++column) {
    low[column] = static_cast<uint32_t>(column & Bit ? 16 + column - Bit : column);
    high[column] = static_cast<uint32_t>(column & Bit ? 16 + column : column + Bit);
  }
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r) {
    if (r & Bit) continue;
    const Words a = rows[r], b = rows[r | Bit];
    rows[r] = __builtin_shuffle(a, b, low);
    rows[r | Bit] = __builtin_shuffle(a, b, high);
  }
}

[[gnu::target("avx512f"), gnu::always_inline]] inline void transpose(Words* rows) {
  exchange<1>(rows);
  exchange<2>(rows);
  exchange<4>(rows);
  exchange<8>(rows);
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

struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};  // sums in tiles 0 to 3, left factors in 4 and 5
};

}  // namespace

[[gnu::target("avx512f,avx512bw,avx512bf16")]] void pack_tile(const float* values, int64_t pitch,
                                                              bool transposed, bfloat16* tile) {
  Words rows[16];
  if (transposed) {
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) rows[r] = rounded(values + r * pitch, values + r * pitch + 16);
    transpose(rows);
  } else {
    // The numbers of two rows take turns.
    alignas(64) uint16_t order[32];
    for (int i = 0; i < 32; ++i) order[i] = static_cast<uint16_t>(i / 2 + i % 2 * 16);
    const __m512i turns = _mm512_load_si512(order);
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r)
      rows[r] = (Words)_mm512_permutexvar_epi16(
          turns, (__m512i)rounded(values + 2 * r * pitch, values + (2 * r + 1) * pitch));
  }
  std::memcpy(tile, rows, sizeof rows);
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

TilesInUse::TilesInUse(int64_t left_rows) {
  TileShapes shapes;
  std::fill_n(shapes.rows, 6, static_cast<uint8_t>(left_rows));
  // GCC 12's own _tile_loadconfig says that it reads eight bytes.
  asm volatile("ldtilecfg %0" ::"m"(shapes));
}

TilesInUse::~TilesInUse() {
  asm volatile("tilerelease");
}

[[gnu::target("amx-tile,amx-bf16")]] void add_tile_products(const TilePair* products, int64_t count,
                                                            int64_t rows, int64_t depth, int64_t columns,
                                                            TilesAhead& ahead, int64_t ahead_lines,
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

[[gnu::target("amx-tile,amx-bf16")]] void sum_tile_products(const TileProduct* products, int64_t count,
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
      _tile_loadd(7, q, row_bytes);
      // A few lines at a time: many at once would keep the loads of tiles waiting.
      if (ahead) {
        fetch(ahead, each);
        ahead += each * cache_line;
      }
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      if (rows <= tile_rows) continue;
      _tile_loadd(5, m, rows_pitch);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, sums, sums_pitch);
  _tile_stored(1, sums + tile_rows, sums_pitch);
  if (rows <= tile_rows) return;
  _tile_stored(2, sums + tile_rows * wide, sums_pitch);
  _tile_stored(3, sums + tile_rows * wide + tile_rows, sums_pitch);
}

[[gnu::target("avx512f,avx512bf16,avx512vl")]] void store_sums(const float* sums, int64_t rows,
                                                               const float* bias, float floor,
                                                               bfloat16* values, int64_t pitch) {
  const __m512 lowest = _mm512_set1_ps(floor), zero = _mm512_setzero_ps(),
               b0 = bias ? _mm512_loadu_ps(bias) : zero, b1 = bias ? _mm512_loadu_ps(bias + 16) : zero;
  for (int64_t r = 0; r < rows; ++r, sums += 32, values += pitch) {
    // Of two operands the second is returned where one is no number.
    const __m512 first = _mm512_max_ps(lowest, _mm512_add_ps(_mm512_loadu_ps(sums), b0)),
                 second = _mm512_max_ps(lowest, _mm512_add_ps(_mm512_loadu_ps(sums + 16), b1));
    const auto both = (__m512i)_mm512_cvtne2ps_pbh(second, first);
    _mm512_storeu_si512(values, both);
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

[[gnu::target("avx512f,avx512bw")]] void transpose_rows(const bfloat16* rows, int64_t pitch, int64_t count,
                                                        int64_t depth, bfloat16* tiles) {
  for (int64_t k = 0; k < depth; ++k, rows += tile_depth, tiles += tile_numbers) {
    Words words[16] = {};
    for (int64_t r = 0; r < count; ++r) std::memcpy(&words[r], rows + r * pitch, sizeof(Words));
    transpose(words);
    std::memcpy(static_cast<void*>(tiles), words, sizeof words);
  }
}

[[gnu::target("amx-tile,amx-bf16,avx512f,avx512bw")]] void add_weighted_rows(const bfloat16* left,
                                                                             const bfloat16* rows,
                                                                             int64_t pitch, int64_t columns,
                                                                             float* sums, int64_t stride) {
  constexpr int row_bytes = 64;
  const int64_t sums_pitch = stride * static_cast<int64_t>(sizeof(float));
  // The numbers of two rows take turns: the first 16 of each, and the last.
  alignas(64) uint16_t order[2][32];
  for (int i = 0; i < 32; ++i) {
    order[0][i] = static_cast<uint16_t>(i / 2 + i % 2 * 32);
    order[1][i] = static_cast<uint16_t>(order[0][i] + 16);
  }
  const __m512i first = _mm512_load_si512(order[0]), last = _mm512_load_si512(order[1]);
  // So many columns at a time: lines that neighbour each other in memory are read one after the other.
  constexpr int64_t most = 128;
  alignas(64) bfloat16 tiles[most * tile_depth];
  _tile_loadd(4, left, row_bytes);
  for (int64_t begin = 0; begin < columns; begin += most) {
    const int64_t width = std::min(most, columns - begin);
    for (int r = 0; r < tile_rows; ++r) {
      const bfloat16 *even = rows + 2 * r * pitch + begin, *odd = even + pitch;
      bfloat16* to = tiles + r * tile_depth;
      for (int64_t c = 0; c < width; c += 2 * tile_rows, to += 2 * tile_numbers) {
        const __m512i a = _mm512_loadu_si512(even + c), b = _mm512_loadu_si512(odd + c);
        _mm512_store_si512(to, _mm512_permutex2var_epi16(a, first, b));
        _mm512_store_si512(to + tile_numbers, _mm512_permutex2var_epi16(a, last, b));
      }
    }
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

[[gnu::target("amx-tile,amx-bf16")]] float multiply_tiles(int64_t rounds) {
  const TilesInUse in_use;
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
  return sums[0];
}

#else

bool has_tiles() {
  return false;
}
void pack_tile(const float*, int64_t, bool, bfloat16*) {}
void transpose_to_tiles(const bfloat16*, int64_t, int64_t, int64_t, bfloat16*) {}
void interleave_to_tiles(const bfloat16*, int64_t, int64_t, bfloat16*, int64_t) {}
void add_tile_products(const TilePair*, int64_t, int64_t, int64_t, int64_t, TilesAhead&, int64_t, float*,
                       int64_t) {}
void sum_tile_products(const TileProduct*, int64_t, int64_t, int64_t, int64_t, int64_t, float*) {}
void store_sums(const float*, int64_t, const float*, float, bfloat16*, int64_t) {}
void multiply_rows(const bfloat16*, int64_t, const bfloat16*, int64_t, float*) {}
void transpose_rows(const bfloat16*, int64_t, int64_t, int64_t, bfloat16*) {}
void add_weighted_rows(const bfloat16*, const bfloat16*, int64_t, int64_t, float*, int64_t) {}
TilesInUse::TilesInUse(int64_t) {}
TilesInUse::~TilesInUse() {}
float multiply_tiles(int64_t) {
  return 0;
}

#endif

}  // namespace eelsvae::cpu
