#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/loops.h"
#include "kernels/cpu/vectors.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace eelsvae::cpu {

// Runs of numbers on their way to memory.

template <typename From, typename To>
void convert(const From* from, int64_t count, To* to) {
  if constexpr (std::is_same_v<From, To>) {
    std::copy_n(from, count, to);
  } else {
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) store(load(from + i), to + i);
    for (; i < count; ++i) store(static_cast<float>(from[i]), to + i);
  }
}

// to[0, count) = line[begin, begin + count), with zeros beyond the line's `length` numbers.
template <typename From, typename To>
void copy_window(const From* line, int64_t length, int64_t begin, int64_t count, To* to) {
  const int64_t first = std::clamp<int64_t>(-begin, 0, count),
                last = std::clamp(length - begin, first, count);
  std::fill_n(to, first, To(0.0f));
  convert(line + begin + first, last - first, to + first);
  std::fill_n(to + last, count - last, To(0.0f));
}

// Copies past the caches, for arrays that are larger than they are: a plain store would first read what it
// overwrites. Before another thread reads what was written, the writer calls end_stream().
constexpr size_t stream_bytes = size_t{8} << 20;
template <typename T>
void stream(const T* from, int64_t count, T* to) {
  const char* f = reinterpret_cast<const char*>(from);
  char* t = reinterpret_cast<char*>(to);
  int64_t bytes = count * static_cast<int64_t>(sizeof(T));
#ifdef __x86_64__
#ifdef __AVX512F__
  constexpr int64_t width = 64;
  const auto move = [&] { _mm512_stream_si512(reinterpret_cast<__m512i*>(t), _mm512_loadu_si512(f)); };
#else
  constexpr int64_t width = 16;
  const auto move = [&] {
    _mm_stream_si128(reinterpret_cast<__m128i*>(t), _mm_loadu_si128(reinterpret_cast<const __m128i*>(f)));
  };
#endif
  const int64_t before = std::min(bytes, -static_cast<int64_t>(reinterpret_cast<uintptr_t>(t)) & (width - 1));
  std::memcpy(t, f, static_cast<size_t>(before));
  f += before, t += before, bytes -= before;
  for (; bytes >= width; bytes -= width, f += width, t += width) move();
#endif
  std::memcpy(t, f, static_cast<size_t>(bytes));
}
inline void end_stream() {
#ifdef __x86_64__
  _mm_sfence();
#endif
}

}  // namespace eelsvae::cpu
