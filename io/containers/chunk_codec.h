#pragma once

// Internal to io/: the filters of nearly all compressed HDF5 datasets, apart from the HDF5 library, which
// runs one chunk at a time, and the compressors of Zarr.
// (https://docs.hdfgroup.org/archive/support/HDF5/doc/H5.format.html, "Data Storage
// - Filter Pipeline": 1 deflate, a zlib stream; 2 shuffle, first all first bytes of the elements, then all
// second bytes, ...; 32000, h5py's own: LZF)

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kernels/host_memory.h"

struct libdeflate_compressor;
struct libdeflate_decompressor;
struct ZSTD_DCtx_s;

namespace eelsvae {

using ByteBuffer = std::vector<std::byte, HostAllocator<std::byte>>;

enum class Compression { none, deflate, lzf, gzip, zstd, blosc };

// A deflated chunk cannot hold more than 1032 times its own size, one of LZF not more than 88 times, one of
// zstd, which Blosc may have inside, not more than 32768 times: 128 KiB of one value take four bytes.
constexpr uint64_t largest_deflate_ratio = 1032;
constexpr uint64_t largest_lzf_ratio = 88;
constexpr uint64_t largest_zstd_ratio = 32768;

// How many bytes LZF unpacks to; of damaged ones any number, not larger than the ratio above allows.
size_t lzf_size(std::span<const std::byte> packed);

// Unpacks LZF into exactly out.size() bytes; false if the packed ones are damaged or of another length.
bool unpack_lzf(std::span<const std::byte> packed, std::span<std::byte> out);

// CRC-32C (Castagnoli), as the codec crc32c of Zarr appends it.
uint32_t crc32c(std::span<const std::byte> bytes);

// Takes off the last four bytes of an HDF5 chunk, the checksum that the filter fletcher32 puts there; false
// if it is not that of the others.
bool take_fletcher32(std::span<const std::byte>& bytes);

// Unpacks chunks, one after the other.
class ChunkDecoder {
 public:
  // threads: that share the blocks of a single chunk, where its compressor has blocks (Blosc).
  explicit ChunkDecoder(int threads = 1);

  // `stored` may be compressed, and shuffled before that in elements of element_bytes, of which `bytes` is a
  // multiple.
  // Returns the chunk, which lasts until the next call, or null if it is damaged or not `bytes` long.
  const std::byte* decode(std::span<const std::byte> stored, Compression compression, bool shuffled,
                          size_t element_bytes, size_t bytes);

  // A chunk of unknown length, of `most` bytes at most, as texts have it; nothing if it is damaged or longer.
  std::optional<std::span<const std::byte>> decode_text(std::span<const std::byte> stored,
                                                        Compression compression, size_t most);

 private:
  // How many bytes there are now in `out`; nothing if it is too small or the chunk damaged.
  std::optional<size_t> unpack(std::span<const std::byte> stored, Compression compression,
                               std::span<std::byte> out);

  int threads_;
  std::unique_ptr<libdeflate_decompressor, void (*)(libdeflate_decompressor*)> decompressor_;
  std::unique_ptr<ZSTD_DCtx_s, void (*)(ZSTD_DCtx_s*)> zstd_;  // made when it is needed
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
