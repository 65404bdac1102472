#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/error.h"

namespace eelsvae {

// What came is not what a DECTRIS detector sends, or not what a receiver can use; one line that says why. The
// messages behind it may be right.
class BadMessage : public UserError {
 public:
  using UserError::UserError;
};

// The part of a detector whose rows are summed: rows and columns [first, last); no last: to the end.
struct DetectorRegion {
  int64_t first_row = 0;
  std::optional<int64_t> last_row;
  int64_t first_column = 0;
  std::optional<int64_t> last_column;

  // "rows 100 to 150 and columns 0 to 1028", of an image.
  std::string text(int64_t rows, int64_t columns) const;
  // BadMessage where it does not lie in images of that size.
  void check(int64_t rows, int64_t columns) const;
};

// How the bytes of an image are packed.
enum class FramePacking {
  none,
  lz4,         // one LZ4 block
  lz4_blocks,  // blocks, framed as by the LZ4 filter of HDF5: 8 bytes of size, 4 of a block's, then each with
               // 4
  bitshuffle_lz4  // the same, each of the blocks in bit planes, the numbers behind the last whole byte as
                  // they are
};

struct EncodedFrame {
  int64_t rows = 0, columns = 0;
  int pixel_bytes = 2;  // 1, 2 or 4: unsigned integers
  bool big_endian = false;
  FramePacking packing = FramePacking::none;
  int shuffled_bytes = 2;  // the size of the numbers that bitshuffle took it for
  std::span<const std::byte> bytes;
};

// The largest image: 2^25 pixels, twice an EIGER2 of 16 million.
constexpr int64_t most_frame_pixels = int64_t{1} << 25;
constexpr int64_t most_frame_rows = 65535, most_frame_columns = 65536;

// Unpacks images and sums the rows of a region, in integers, to a spectrum. Blocks outside of it are not
// unpacked, and one of LZ4 no further than it reaches.
//
// The largest number of its type is the detector's sign for a pixel without data (masked, or between
// modules). Such pixels are left out, and the sum of the others of the column is scaled up to all rows. A
// column without any is drawn linearly between its neighbours.
class FrameSum {
 public:
  explicit FrameSum(DetectorRegion region) : region_(region) {}

  // Lasts until the next call. BadMessage where the bytes are damaged or the image is too large, smaller than
  // the region, or without any data in it.
  std::span<const float> spectrum(const EncodedFrame& frame);
  // Columns of the last spectrum that were drawn between their neighbours.
  int64_t drawn_columns() const { return drawn_columns_; }
  const DetectorRegion& region() const { return region_; }

 private:
  void unpack(const EncodedFrame& frame);
  void unpack_blocks(const EncodedFrame& frame);
  void add(const EncodedFrame& frame, size_t offset, std::span<const std::byte> bytes);
  template <class Pixel>
  void add_pixels(const EncodedFrame& frame, size_t first, std::span<const std::byte> bytes);
  template <class Pixel>
  void finish();

  DetectorRegion region_;
  int64_t first_row_ = 0, last_row_ = 0, first_column_ = 0, last_column_ = 0;  // of the frame that is summed
  std::vector<uint32_t> sums_;       // of up to 65,535 pixels of 16 bits
  std::vector<uint64_t> long_sums_;  // of pixels of 32 bits
  std::vector<uint16_t> without_data_;
  std::vector<float> spectrum_;
  std::vector<std::byte> unpacked_, joined_;
  int64_t drawn_columns_ = 0;
};

}  // namespace eelsvae
