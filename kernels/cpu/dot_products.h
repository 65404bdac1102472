#pragma once

#include <immintrin.h>

#include "kernels/array.h"

namespace eelsvae::cpu {

inline __m512i load_pairs(const bfloat16* from) {
  return _mm512_loadu_si512(from);
}
// sum + two neighbours in memory, sent to all lanes, times 16 pairs, by AVX512_BF16; sums are f32.
inline __m512 add_dots(__m512 sum, const bfloat16* pair, __m512i pairs) {
  // Both are read, and they are bfloat16 to whoever wrote them.
  using Pair = const bfloat16[2];
  asm("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(pairs), "m"(*reinterpret_cast<Pair*>(pair)));
  return sum;
}

// A left factor, rows as they lie in memory; weights (depth / 2, columns, 2), columns being 16 or 32; and
// memory to be fetched to the second-level cache meanwhile.
struct DotProduct {
  const bfloat16 *rows, *weights;
  const void* ahead;
};
constexpr int64_t most_dot_rows = 12;
// sums (rows, 32), of which `columns` (16 or 32) of a row are computed, = bias + the sum over `count`
// products; rows of the left factors are `pitch` apart and `depth` long, an even number. `rows` (up to
// most_dot_rows) is rounded up to a multiple of 3 in what is read and written. bias may be null.
void sum_dot_products(const DotProduct* products, int64_t count, int64_t rows, int64_t columns, int64_t pitch,
                      int64_t depth, int64_t ahead_lines, const float* bias, float* sums);

}  // namespace eelsvae::cpu
