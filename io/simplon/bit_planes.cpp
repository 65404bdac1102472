#include "io/simplon/bit_planes.h"

#include <array>
#include <cstdint>
#include <cstring>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "kernels/error.h"

namespace eelsvae {
namespace {

// A vector: so many bytes of each plane are worked on together.
constexpr size_t stretch = 32;
using Row [[gnu::vector_size(stretch)]] = uint64_t;
template <size_t count>
struct Rows {
  Row row[count];  // no std::array, which would drop what the type says of its alignment
};

// Bits (plane, place in the byte) change places, in all bytes at once: a matrix of 8 x 8 is transposed by
// exchanging two of its quarters, then two quarters of each of these, then of theirs.
template <size_t distance>
void exchange(Rows<8>& planes, uint64_t mask) {
#pragma GCC unroll 8
  for (size_t k = 0; k < 8; ++k) {
    if (k & distance) continue;
    Row &low = planes.row[k], &high = planes.row[k + distance];
    const Row changed = (low >> distance ^ high) & mask;
    high ^= changed;
    low ^= changed << distance;
  }
}

// Rows of bytes become columns: out[j * count + r] is the byte j of row r.
template <size_t count>
void transpose(const Rows<count>& rows, std::byte* out) {
#ifdef __AVX2__
  // Each round interleaves the first half of all bytes with the second half. In the number of a byte, its row
  // and then its place, that moves the highest bit behind the lowest; after as many rounds as the row has
  // bits the row stands behind the place. The halves of a vector are apart all the time.
  Rows<count> from = rows, to;
#pragma GCC unroll 5
  for (size_t round = 1; round < count; round *= 2) {
#pragma GCC unroll 16
    for (size_t r = 0; r < count / 2; ++r) {
      const auto a = reinterpret_cast<__m256i>(from.row[r]),
                 b = reinterpret_cast<__m256i>(from.row[r + count / 2]);
      to.row[2 * r] = reinterpret_cast<Row>(_mm256_unpacklo_epi8(a, b));
      to.row[2 * r + 1] = reinterpret_cast<Row>(_mm256_unpackhi_epi8(a, b));
    }
    from = to;
  }
#pragma GCC unroll 32
  for (size_t r = 0; r < count; ++r) {
    std::byte* first = out + r * sizeof(__m128i);
    const auto both = reinterpret_cast<__m256i>(from.row[r]);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(first), _mm256_castsi256_si128(both));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(first + count * sizeof(__m128i)),
                     _mm256_extracti128_si256(both, 1));
  }
#else
  for (size_t r = 0; r < count; ++r) {
    std::byte row[stretch];
    std::memcpy(row, &rows.row[r], stretch);
    for (size_t j = 0; j < stretch; ++j) out[j * count + r] = row[j];
  }
#endif
}

// 8 * stretch numbers; the planes are `distance` bytes apart.
template <size_t bytes>
void join_stretch(const std::byte* planes, size_t distance, std::byte* out) {
  Rows<8 * bytes> rows;  // m * bytes + b: the bytes b of the numbers m, m + 8, m + 16, ...
  for (size_t b = 0; b < bytes; ++b) {
    Rows<8> some;
    for (size_t k = 0; k < 8; ++k) std::memcpy(&some.row[k], planes + (8 * b + k) * distance, stretch);
    exchange<4>(some, 0x0f0f0f0f0f0f0f0f);
    exchange<2>(some, 0x3333333333333333);
    exchange<1>(some, 0x5555555555555555);
    for (size_t m = 0; m < 8; ++m) rows.row[m * bytes + b] = some.row[m];
  }
  transpose(rows, out);
}

template <size_t bytes>
void join(const std::byte* planes, size_t plane_bytes, std::byte* out) {
  size_t done = 0;  // bytes of a plane
  for (; done + stretch <= plane_bytes; done += stretch)
    join_stretch<bytes>(planes + done, plane_bytes, out + 8 * bytes * done);
  if (const size_t rest = plane_bytes - done) {
    std::array<std::byte, 8 *bytes*stretch> some = {}, joined;
    for (size_t k = 0; k < 8 * bytes; ++k)
      std::memcpy(&some[k * stretch], planes + k * plane_bytes + done, rest);
    join_stretch<bytes>(some.data(), stretch, joined.data());
    std::memcpy(out + 8 * bytes * done, joined.data(), 8 * bytes * rest);
  }
}

}  // namespace

void join_bit_planes(std::span<const std::byte> planes, size_t element_bytes, std::span<std::byte> out) {
  const size_t plane_bytes = planes.size() / element_bytes / 8;
  expect(planes.size() == out.size() && planes.size() == 8 * element_bytes * plane_bytes,
         "bit planes of a whole number of bytes");
  if (element_bytes == 1) return join<1>(planes.data(), plane_bytes, out.data());
  if (element_bytes == 2) return join<2>(planes.data(), plane_bytes, out.data());
  expect(element_bytes == 4, "bit planes of numbers of 1, 2 or 4 bytes");
  join<4>(planes.data(), plane_bytes, out.data());
}

}  // namespace eelsvae
