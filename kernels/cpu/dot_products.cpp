#include "kernels/cpu/dot_products.h"

#include "kernels/cpu/loops.h"

namespace eelsvae::cpu {
namespace {

template <int Rows, int Vectors>
[[gnu::noinline]] void sum_rows(const DotProduct* products, int64_t count, int64_t pitch, int64_t pairs,
                                int64_t ahead_lines, const float* bias, float* sums) {
  constexpr int row = 32;
  __m512 sum[Rows][Vectors];
#pragma GCC unroll 2
  for (int v = 0; v < Vectors; ++v) {
    const __m512 start = bias ? _mm512_loadu_ps(bias + 16 * v) : _mm512_setzero_ps();
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) sum[r][v] = start;
  }
  for (const DotProduct* product = products; product < products + count; ++product) {
    const bfloat16* w = product->weights;
    if (product->ahead) fetch(product->ahead, ahead_lines);
    // Three rows at a time are reached from one pointer: a pointer for each would not fit the registers.
    const bfloat16* groups[Rows / 3];
#pragma GCC unroll 4
    for (int g = 0; g < Rows / 3; ++g) {
      groups[g] = product->rows + 3 * g * pitch;
      asm("" : "+r"(groups[g]));
    }
    const auto step = [&] {
      __m512i wv[Vectors];
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) {
        wv[v] = load_pairs(w + 32 * v);
        __builtin_prefetch(w + 8 * 32 * Vectors + 32 * v);
      }
#pragma GCC unroll 4
      for (int g = 0; g < Rows / 3; ++g) {
#pragma GCC unroll 3
        for (int r = 0; r < 3; ++r)
#pragma GCC unroll 2
          for (int v = 0; v < Vectors; ++v)
            sum[3 * g + r][v] = add_dots(sum[3 * g + r][v], groups[g] + r * pitch, wv[v]);
        groups[g] += 2;
      }
      w += 32 * Vectors;
    };
    int64_t pair = 0;
    for (; pair + 4 <= pairs; pair += 4)
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) step();
    for (; pair < pairs; ++pair) step();
  }
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) _mm512_storeu_ps(sums + r * row + 16 * v, sum[r][v]);
}

}  // namespace

void sum_dot_products(const DotProduct* products, int64_t count, int64_t rows, int64_t columns, int64_t pitch,
                      int64_t depth, int64_t ahead_lines, const float* bias, float* sums) {
  using Sum = void (*)(const DotProduct*, int64_t, int64_t, int64_t, int64_t, const float*, float*);
  static constexpr Sum narrow[] = {sum_rows<3, 1>, sum_rows<6, 1>, sum_rows<9, 1>, sum_rows<12, 1>},
                       wide[] = {sum_rows<3, 2>, sum_rows<6, 2>, sum_rows<9, 2>, sum_rows<12, 2>};
  // (GCC 12 with sanitizers takes the wrong element of an array that a condition chooses.)
  const int64_t index = (rows - 1) / 3;
  const Sum sum = columns > 16 ? wide[index] : narrow[index];
  sum(products, count, pitch, depth / 2, ahead_lines, bias, sums);
}

}  // namespace eelsvae::cpu
