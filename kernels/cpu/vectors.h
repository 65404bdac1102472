#pragma once

#include <cstring>
#include <experimental/simd>

#include "kernels/array.h"

namespace eelsvae::cpu {

namespace stdx = std::experimental;

// As many floats as a register of the target holds.
using Vector = stdx::native_simd<float>;
constexpr int64_t lanes = static_cast<int64_t>(Vector::size());

inline Vector load(const float* from) {
  return Vector(from, stdx::element_aligned);
}
inline Vector load(const bfloat16* from) {
  using Half = uint16_t __attribute__((vector_size(sizeof(uint16_t) * lanes)));
  using Word = uint32_t __attribute__((vector_size(sizeof(uint32_t) * lanes)));
  Half bits;
  std::memcpy(&bits, from, sizeof bits);
  const Word words = __builtin_convertvector(bits, Word) << 16;
  alignas(sizeof words) float values[lanes];
  std::memcpy(values, &words, sizeof words);
  return Vector(values, stdx::vector_aligned);
}

}  // namespace eelsvae::cpu
