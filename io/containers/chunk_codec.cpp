#include "io/containers/chunk_codec.h"

#include <libdeflate.h>

#include <bit>
#include <cstring>
#include <new>
#include <type_traits>

namespace eelsvae {
namespace {

template <size_t size>
using Unsigned = std::conditional_t<size == 2, uint16_t, std::conditional_t<size == 4, uint32_t, uint64_t>>;

template <size_t size>
constexpr size_t shift_of(size_t byte) {
  return 8 * (std::endian::native == std::endian::little ? byte : size - 1 - byte);
}

// Whole elements, so that the loops vectorise.
template <size_t size>
void unshuffle(const std::byte* __restrict in, size_t elements, std::byte* __restrict out) {
  for (size_t i = 0; i < elements; ++i) {
    Unsigned<size> value = 0;
    for (size_t b = 0; b < size; ++b)
      value |=
          static_cast<Unsigned<size>>(static_cast<Unsigned<size>>(in[b * elements + i]) << shift_of<size>(b));
    std::memcpy(out + i * size, &value, size);
  }
}

void unshuffle(const std::byte* in, size_t elements, size_t size, std::byte* out) {
  if (size == 2) return unshuffle<2>(in, elements, out);
  if (size == 4) return unshuffle<4>(in, elements, out);
  if (size == 8) return unshuffle<8>(in, elements, out);
  for (size_t i = 0; i < elements; ++i) {
    for (size_t b = 0; b < size; ++b) out[i * size + b] = in[b * elements + i];
  }
}

void shuffle_floats(const float* __restrict in, size_t elements, std::byte* __restrict out) {
  for (size_t b = 0; b < sizeof(float); ++b) {
    for (size_t i = 0; i < elements; ++i)
      out[b * elements + i] = static_cast<std::byte>(std::bit_cast<uint32_t>(in[i]) >> 8 * b & 255);
  }
}

template <class T>
T* allocated(T* object) {
  if (!object) throw std::bad_alloc();
  return object;
}

}  // namespace

ChunkDecoder::ChunkDecoder()
    : decompressor_(allocated(libdeflate_alloc_decompressor()), libdeflate_free_decompressor) {}

const std::byte* ChunkDecoder::decode(std::span<const std::byte> stored, bool deflated, bool shuffled,
                                      size_t element_bytes, size_t bytes) {
  if (deflated) {
    if (bytes / largest_deflate_ratio > stored.size()) return nullptr;
    inflated_.resize(bytes);
    // Without a place for the length it must be exactly `bytes`.
    if (libdeflate_zlib_decompress(decompressor_.get(), stored.data(), stored.size(), inflated_.data(), bytes,
                                   nullptr) != LIBDEFLATE_SUCCESS)
      return nullptr;
    stored = inflated_;
  }
  if (stored.size() != bytes) return nullptr;
  if (!shuffled || element_bytes == 1) return stored.data();
  unshuffled_.resize(bytes);
  unshuffle(stored.data(), bytes / element_bytes, element_bytes, unshuffled_.data());
  return unshuffled_.data();
}

ChunkEncoder::ChunkEncoder(int level)
    : compressor_(allocated(libdeflate_alloc_compressor(level)), libdeflate_free_compressor) {}

std::span<const std::byte> ChunkEncoder::encode(std::span<const float> chunk) {
  shuffled_.resize(chunk.size_bytes());
  shuffle_floats(chunk.data(), chunk.size(), shuffled_.data());
  deflated_.resize(libdeflate_zlib_compress_bound(compressor_.get(), shuffled_.size()));
  const size_t size = libdeflate_zlib_compress(compressor_.get(), shuffled_.data(), shuffled_.size(),
                                               deflated_.data(), deflated_.size());
  return {deflated_.data(), size};
}

}  // namespace eelsvae
