#pragma once

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
  using Half = stdx::fixed_size_simd<uint16_t, static_cast<int>(Vector::size())>;
  using Word = stdx::fixed_size_simd<uint32_t, static_cast<int>(Vector::size())>;
  Half bits([from](auto i) { return from[i].bits; });
  Word words = stdx::static_simd_cast<Word>(bits) << 16;
  alignas(64) uint32_t raw[Vector::size()];
  words.copy_to(raw, stdx::vector_aligned);
  return Vector([&raw](auto i) { return std::bit_cast<float>(raw[i]); });
}

}  // namespace eelsvae::cpu
