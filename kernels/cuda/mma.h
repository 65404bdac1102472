#pragma once

#include <array>
#include <bit>

#include "kernels/cuda/device.h"

// The tensor cores' product of small matrices, by a warp: c (16, 8) += a (16, K) b (K, 8) with f32 sums, K =
// 16 for bf16 and 8 for tf32. In both K is eight 32-bit words: a word holds one tf32 number, or two bf16
// numbers that are neighbours along K, the first in its lower half.
//
// Lane l of the warp has, with g = l / 4 and q = l % 4,
//   a[0], a[1], a[2], a[3]   words (row, word) (g, q), (g + 8, q), (g, q + 4), (g + 8, q + 4) of a
//   b[0], b[1]               words (word, column) (q, g), (q + 4, g) of b
//   c[0], c[1], c[2], c[3]   elements (row, column) (g, 2q), (g, 2q + 1), (g + 8, 2q), (g + 8, 2q + 1)
// (PTX ISA, "Matrix fragments for mma.m16n8k16" with .bf16 and "for mma.m16n8k8" with .tf32.)
namespace eelsvae::EELSVAE_GPU {

constexpr int mma_rows = 16, mma_columns = 8, mma_words = 8;

// A word of two bf16 numbers.
__device__ inline uint32_t mma_word(bfloat16 first, bfloat16 second) {
  return first.bits | static_cast<uint32_t>(second.bits) << 16;
}
// A word of one number, rounded to tf32: to nearest, ties away from zero.
__device__ inline uint32_t mma_word(float value) {
#ifdef __CUDA_ARCH__
  uint32_t word;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(value));
  return word;
#else
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & ~0x1fffu;
#endif
}

#ifdef EELSVAE_EMULATED

template <typename T>
void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  using Words = std::array<uint32_t, 2>;
  const std::array<std::array<Words, 32>, 3> fragments = {emulated_device::gather(Words{a[0], a[1]}),
                                                          emulated_device::gather(Words{a[2], a[3]}),
                                                          emulated_device::gather(Words{b[0], b[1]})};
  auto product = [](uint32_t x, uint32_t y) {
    auto half = [](uint32_t word, int place) { return std::bit_cast<float>(word << place); };
    if (std::is_same_v<T, bfloat16>)
      return half(x & 0xffffu, 16) * half(y & 0xffffu, 16) +
             half(x & 0xffff0000u, 0) * half(y & 0xffff0000u, 0);
    // The hardware ignores the bits that tf32 does not have.
    return half(x & ~0x1fffu, 0) * half(y & ~0x1fffu, 0);
  };
  const unsigned lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  for (unsigned i = 0; i < 4; ++i)
    for (unsigned word = 0; word < mma_words; ++word) {
      const unsigned column = 2 * q + i % 2;
      const uint32_t x = fragments[word / 4][g * 4 + word % 4][i / 2];
      const uint32_t y = fragments[2][column * 4 + word % 4][word / 4];
      c[i] += product(x, y);
    }
}

#else

template <typename T>
__device__ inline void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (std::is_same_v<T, bfloat16>)
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif

}  // namespace eelsvae::EELSVAE_GPU
