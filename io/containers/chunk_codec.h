#pragma once

// Internal to io/: the filters of nearly all compressed HDF5 datasets, apart from the HDF5 library, which
// runs one chunk at a time. (https://docs.hdfgroup.org/archive/support/HDF5/doc/H5.format.html, "Data Storage
// - Filter Pipeline": 1 deflate, a zlib stream; 2 shuffle, first all first bytes of the elements, then all
// second bytes, ...; 32000, h5py's own: LZF)

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/host_memory.h"

struct libdeflate_compressor;
struct libdeflate_decompressor;

namespace eelsvae {

using ByteBuffer = std::vector<std::byte, HostAllocator<std::byte>>;

enum class Compression { none, deflate, lzf };

// A deflated chunk cannot hold more than 1032 times its own size, one of LZF not more than 88 times.
constexpr uint64_t largest_deflate_ratio = 1032;
constexpr uint64_t largest_lzf_ratio = 88;

// Unpacks LZF into exactly out.size() bytes; false if the packed ones are damaged or of another length.
bool unpack_lzf(std::span<const std::byte> packed, std::span<std::byte> out);

// Unpacks chunks, one after the other.
class ChunkDecoder {
 public:
  ChunkDecoder();

  // `stored` may be compressed, and shuffled before that in elements of element_bytes, of which `bytes` is a
  // multiple.
  // Returns the chunk, which lasts until the next call, or null if it is damaged or not `bytes` long.
  const std::byte* decode(std::span<const std::byte> stored, Compression compression, bool shuffled,
                          size_t element_bytes, size_t bytes);

 private:
  std::unique_ptr<libdeflate_decompressor, void (*)(libdeflate_decompressor*)> decompressor_;
  ByteBuffer unpacked_, unshuffled_;
};

// Packs chunks of floats, one after the other.
class ChunkEncoder {
 public:
  // level: 1, fast, to 12, small.
  explicit ChunkEncoder(int level);

  // Shuffles little-endian floats and deflates them. Returns what lasts until the next call.
  std::span<const std::byte> encode(std::span<const float> chunk);

 private:
  std::unique_ptr<libdeflate_compressor, void (*)(libdeflate_compressor*)> compressor_;
  ByteBuffer shuffled_, deflated_;
};

}  // namespace eelsvae
