#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "kernels/storage_type.h"

namespace eelsvae::cpu {

using eelsvae::with_storage_type;

// Splits [0, count) into pieces of `piece` elements (the last may be shorter) and calls f(begin, end, index)
// for each, spread over the threads. What a piece is does not depend on the number of threads.
template <typename F>
void for_pieces(int64_t count, int64_t piece, F&& f) {
  int64_t pieces = (count + piece - 1) / piece;
#pragma omp parallel for schedule(static) if (pieces > 1)
  for (int64_t i = 0; i < pieces; ++i) f(i * piece, std::min(count, (i + 1) * piece), i);
}

// Asks for `lines` lines of memory to come to the second-level cache. It may be any address.
constexpr int64_t cache_line = 64;
inline void fetch(const void* from, int64_t lines) {
  for (int64_t i = 0; i < lines; ++i)
    __builtin_prefetch(static_cast<const char*>(from) + i * cache_line, 0, /*locality=*/3);
}

// *to = value in the storage type. (GCC does not vectorise the copy of a class, so bf16 is written as bits.)
inline void store(float value, float* to) {
  *to = value;
}
inline void store(float value, bfloat16* to) {
  to->bits = bfloat16::rounded(value);
}

// exp(x) to about one unit in the last place of float, in operations that vectorise: exp(x) = 2^n exp(r) with
// |r| <= ln(2)/2 and the minimax polynomial of Cephes' expf. Results below 2^-126 become 0.
inline float vector_exp(float x) {
  x = std::min(std::max(x, -103.0f), 88.0f);
  float n = x * 1.44269504088896341f;
  n = (n + 12582912.0f) - 12582912.0f;  // rounds to the nearest integer: 1.5 * 2^23 leaves no fraction bits
  float r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  int32_t exponent = static_cast<int32_t>(n) + 127;
  float scale = std::bit_cast<float>(static_cast<uint32_t>(std::max(exponent, 0)) << 23);
  return p * scale;
}

}  // namespace eelsvae::cpu
