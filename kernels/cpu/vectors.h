#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/array.h"

namespace eelsvae::cpu {

// As many floats as a register of the target holds. Kernels that keep numbers in registers are written with
// these vectors, which the compiler has arithmetic, comparisons and choices for; other loops are left to it
// whole.
#if defined(__AVX512F__)
constexpr int64_t lanes = 16;
#elif defined(__AVX__)
constexpr int64_t lanes = 8;
#else
constexpr int64_t lanes = 4;
#endif
using Vector = float __attribute__((vector_size(sizeof(float) * lanes)));
using Words = uint32_t __attribute__((vector_size(sizeof(float) * lanes)));      // the bits of a Vector
using Halves = uint16_t __attribute__((vector_size(sizeof(uint16_t) * lanes)));  // of as many bfloat16

inline Vector load(const float* from) {
  Vector values;
  std::memcpy(&values, from, sizeof values);
  return values;
}
inline Vector load(const bfloat16* from) {
  Halves bits;
  std::memcpy(&bits, from, sizeof bits);
  return (Vector)(__builtin_convertvector(bits, Words) << 16);
}
inline void store(const Vector& values, float* to) {
  std::memcpy(to, &values, sizeof values);
}
// Rounded as bfloat16::rounded does. No instruction for it is used: the one of AVX512_BF16 takes numbers
// below 2^-126 for zero, and results would depend on the processor.
inline void store(const Vector& values, bfloat16* to) {
  const Words u = (Words)values, nearest = u + 0x7fffu + ((u >> 16) & 1u);
  const Halves halves =
      __builtin_convertvector(((u & 0x7fffffffu) > 0x7f800000u ? u | 0x400000u : nearest) >> 16, Halves);
  std::memcpy(static_cast<void*>(to), &halves, sizeof halves);
}

// The sum of a vector's lanes: of its halves, of the halves of these, and so on.
inline float sum_of_lanes(const Vector& values) {
  float sums[lanes];
  store(values, sums);
  for (int64_t half = lanes / 2; half >= 4; half /= 2)
    for (int64_t i = 0; i < half; ++i) sums[i] += sums[i + half];
  return (sums[0] + sums[3]) + (sums[2] + sums[1]);
}

}  // namespace eelsvae::cpu
