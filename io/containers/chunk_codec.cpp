#include "io/containers/chunk_codec.h"

#include <blosc.h>
#include <libdeflate.h>
#include <zstd.h>

#include <array>
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

uint64_t largest_ratio(Compression compression) {
  switch (compression) {
    case Compression::deflate:
    case Compression::gzip:
      return largest_deflate_ratio;
    case Compression::lzf:
      return largest_lzf_ratio;
    default:
      return largest_zstd_ratio;
  }
}

void free_zstd(ZSTD_DCtx* context) {
  ZSTD_freeDCtx(context);
}

// What the bytes 0 to 255 add to the remainder; the polynomial is 0x1edc6f41, its bits the other way round.
constexpr std::array<uint32_t, 256> crc32c_table = [] {
  std::array<uint32_t, 256> table = {};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit) remainder = remainder >> 1 ^ (remainder & 1 ? 0x82f63b78 : 0);
    table[byte] = remainder;
  }
  return table;
}();

}  // namespace

uint32_t crc32c(std::span<const std::byte> bytes) {
  uint32_t remainder = ~uint32_t{0};
  for (const std::byte byte : bytes)
    remainder = remainder >> 8 ^ crc32c_table[(remainder ^ std::to_integer<uint32_t>(byte)) & 255];
  return ~remainder;
}

ChunkDecoder::ChunkDecoder(int threads)
    : threads_(threads),
      decompressor_(allocated(libdeflate_alloc_decompressor()), libdeflate_free_decompressor),
      zstd_(nullptr, free_zstd) {}

size_t lzf_size(std::span<const std::byte> packed) {
  size_t size = 0;
  for (size_t from = 0; from < packed.size();) {
    const size_t control = std::to_integer<size_t>(packed[from]);
    if (control < 32) {
      size += control + 1;
      from += control + 2;
      continue;
    }
    const bool longer = control >> 5 == 7 && from + 1 < packed.size();
    size += (control >> 5) + 2 + (longer ? std::to_integer<size_t>(packed[from + 1]) : 0);
    from += longer ? 3 : 2;
  }
  return size;
}

// A control byte below 32 announces that many and one bytes, which follow. Any other begins a repetition: its
// upper three bits, with one more byte if they are all set, are the length less 2, its lower five and the
// next byte how far back the repetition begins, less 1.
bool unpack_lzf(std::span<const std::byte> packed, std::span<std::byte> out) {
  size_t from = 0, to = 0;
  const auto next = [&] { return std::to_integer<size_t>(packed[from++]); };
  while (from < packed.size()) {
    const size_t control = next();
    if (control < 32) {
      const size_t length = control + 1;
      if (length > packed.size() - from || length > out.size() - to) return false;
      std::memcpy(&out[to], &packed[from], length);
      from += length;
      to += length;
      continue;
    }
    size_t length = (control >> 5) + 2;
    if (packed.size() - from < (length == 9 ? 2 : 1)) return false;
    if (length == 9) length += next();
    const size_t back = ((control & 31) << 8 | next()) + 1;
    if (back > to || length > out.size() - to) return false;
    for (const size_t end = to + length; to < end; ++to) out[to] = out[to - back];  // may overlap itself
  }
  return to == out.size();
}

// As the library computes it: of words of two bytes, the first of them the higher, a last odd byte the higher
// of a word; sums modulo 65535 that are 0 only where all words are. In files of HDF5 1.6.2 and before the
// bytes of either sum are exchanged; the library takes these, too.
bool take_fletcher32(std::span<const std::byte>& bytes) {
  uint32_t stored = 0;
  if (bytes.size() < sizeof stored) return false;
  std::memcpy(&stored, bytes.last(sizeof stored).data(), sizeof stored);
  bytes = bytes.first(bytes.size() - sizeof stored);
  const auto folded = [](uint32_t sum) { return (sum & 0xffff) + (sum >> 16); };
  uint32_t first = 0, second = 0;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    const auto high = std::to_integer<uint32_t>(bytes[i]);
    const auto low = i + 1 < bytes.size() ? std::to_integer<uint32_t>(bytes[i + 1]) : 0;
    first = folded(first + (high << 8 | low));
    second = folded(second + first);
  }
  const uint32_t sum = folded(second) << 16 | folded(first);
  return stored == sum || stored == ((sum & 0x00ff00ff) << 8 | (sum >> 8 & 0x00ff00ff));
}

std::optional<size_t> ChunkDecoder::unpack(std::span<const std::byte> stored, Compression compression,
                                           std::span<std::byte> out) {
  size_t size = 0;
  const auto when = [&](bool right) { return right ? std::optional(size) : std::nullopt; };
  switch (compression) {
    case Compression::none:
      break;
    case Compression::deflate:
      return when(libdeflate_zlib_decompress(decompressor_.get(), stored.data(), stored.size(), out.data(),
                                             out.size(), &size) == LIBDEFLATE_SUCCESS);
    case Compression::gzip:
      return when(libdeflate_gzip_decompress(decompressor_.get(), stored.data(), stored.size(), out.data(),
                                             out.size(), &size) == LIBDEFLATE_SUCCESS);
    case Compression::lzf:
      size = lzf_size(stored);
      return when(size <= out.size() && unpack_lzf(stored, out.first(size)));
    case Compression::zstd:
      if (!zstd_) zstd_.reset(allocated(ZSTD_createDCtx()));
      size = ZSTD_decompressDCtx(zstd_.get(), out.data(), out.size(), stored.data(), stored.size());
      return when(!ZSTD_isError(size));
    case Compression::blosc:
      // Without this check damaged chunks are read and written beyond their ends.
      return when(stored.size() >= BLOSC_MIN_HEADER_LENGTH &&
                  blosc_cbuffer_validate(stored.data(), stored.size(), &size) == 0 && size <= out.size() &&
                  blosc_decompress_ctx(stored.data(), out.data(), out.size(), threads_) ==
                      static_cast<int64_t>(size));
  }
  return std::nullopt;
}

const std::byte* ChunkDecoder::decode(std::span<const std::byte> stored, Compression compression,
                                      bool shuffled, size_t element_bytes, size_t bytes) {
  if (compression != Compression::none) {
    if (bytes / largest_ratio(compression) > stored.size()) return nullptr;
    unpacked_.resize(bytes);
    if (unpack(stored, compression, unpacked_) != bytes) return nullptr;
    stored = unpacked_;
  }
  if (stored.size() != bytes) return nullptr;
  if (!shuffled || element_bytes == 1) return stored.data();
  unshuffled_.resize(bytes);
  unshuffle(stored.data(), bytes / element_bytes, element_bytes, unshuffled_.data());
  return unshuffled_.data();
}

std::optional<std::span<const std::byte>> ChunkDecoder::decode_text(std::span<const std::byte> stored,
                                                                    Compression compression, size_t most) {
  if (compression == Compression::none) return stored.size() <= most ? std::optional(stored) : std::nullopt;
  unpacked_.resize(most);
  const auto size = unpack(stored, compression, unpacked_);
  if (!size) return std::nullopt;
  return std::span<const std::byte>(unpacked_).first(*size);
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
