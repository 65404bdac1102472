#include "io/simplon/frame_sum.h"

#include <lz4.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

#include "io/simplon/bit_planes.h"

namespace eelsvae {
namespace {

constexpr size_t largest_lz4_ratio = 255;  // a byte of length adds as many bytes at most
constexpr size_t usual_block = 8192;       // bytes, where bitshuffle's header does not say

[[noreturn]] void damaged(const std::string& what) {
  throw BadMessage("the compressed image is damaged: " + what);
}

// Big-endian, as HDF5's filters write them.
template <class Integer>
Integer take(std::span<const std::byte>& bytes) {
  if (bytes.size() < sizeof(Integer)) damaged("it ends too early");
  Integer value = 0;
  for (const std::byte byte : bytes.first(sizeof(Integer)))
    value = static_cast<Integer>(value << 8 | std::to_integer<Integer>(byte));
  bytes = bytes.subspan(sizeof(Integer));
  return value;
}

// The first `out.size()` bytes of `size` that the block holds: no more of it is unpacked, nor looked at.
void unpack_lz4(std::span<const std::byte> packed, size_t size, std::span<std::byte> out) {
  constexpr size_t most = std::numeric_limits<int>::max();
  if (packed.size() > most || size > most) damaged("a block is too large");
  const auto* from = reinterpret_cast<const char*>(packed.data());
  auto* to = reinterpret_cast<char*>(out.data());
  const auto bytes = static_cast<int>(packed.size()), wanted = static_cast<int>(out.size());
  const int unpacked = out.size() < size ? LZ4_decompress_safe_partial(from, to, bytes, wanted, wanted)
                                         : LZ4_decompress_safe(from, to, bytes, wanted);
  if (unpacked != wanted) damaged("no LZ4 of the right length");
}

// Room for `size` bytes that `packed` bytes may have become.
std::span<std::byte> room(std::vector<std::byte>& buffer, size_t size, size_t packed) {
  if (size / largest_lz4_ratio > packed) damaged("it is too short");
  if (buffer.size() < size) buffer.resize(size);
  return std::span(buffer).first(size);
}

template <class Pixel>
Pixel swapped(Pixel value) {
  if constexpr (sizeof(Pixel) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(Pixel) == 4) return __builtin_bswap32(value);
  return value;
}

// A row, or a part of one. The bytes need not be aligned.
template <class Pixel, class Sum>
void add_row(const std::byte* __restrict pixels, bool swap, size_t count, Sum* __restrict sums,
             uint16_t* __restrict without_data) {
  constexpr Pixel no_data = std::numeric_limits<Pixel>::max();  // whose bytes are all the same
  const auto add_all = [&](auto in_order) {
    for (size_t i = 0; i < count; ++i) {
      Pixel pixel;
      std::memcpy(&pixel, pixels + i * sizeof(Pixel), sizeof pixel);
      if constexpr (!in_order) pixel = swapped(pixel);
      const bool none = pixel == no_data;
      sums[i] += none ? Pixel{0} : pixel;
      without_data[i] = static_cast<uint16_t>(without_data[i] + none);
    }
  };
  if (swap) return add_all(std::false_type());
  add_all(std::true_type());
}

}  // namespace

std::string DetectorRegion::text(int64_t rows, int64_t columns) const {
  return "rows " + std::to_string(first_row) + " to " + std::to_string(last_row.value_or(rows)) +
         " and columns " + std::to_string(first_column) + " to " +
         std::to_string(last_column.value_or(columns));
}

void DetectorRegion::check(int64_t rows, int64_t columns) const {
  const auto lies_within = [](int64_t first, int64_t last, int64_t size) {
    return first >= 0 && first < last && last <= size;
  };
  if (!lies_within(first_row, last_row.value_or(rows), rows) ||
      !lies_within(first_column, last_column.value_or(columns), columns)) {
    throw BadMessage("the region (" + text(rows, columns) + ") does not lie in images of " +
                     std::to_string(rows) + " rows and " + std::to_string(columns) +
                     " columns; give one that does");
  }
}

std::span<const float> FrameSum::spectrum(const EncodedFrame& frame) {
  if (frame.rows < 1 || frame.columns < 1 || frame.rows > most_frame_rows ||
      frame.columns > most_frame_columns || frame.rows * frame.columns > most_frame_pixels) {
    throw BadMessage("an image of " + std::to_string(frame.rows) + " rows and " +
                     std::to_string(frame.columns) + " columns; at most " +
                     std::to_string(most_frame_pixels) + " pixels are taken");
  }
  region_.check(frame.rows, frame.columns);
  first_row_ = region_.first_row, last_row_ = region_.last_row.value_or(frame.rows);
  first_column_ = region_.first_column, last_column_ = region_.last_column.value_or(frame.columns);
  const auto channels = static_cast<size_t>(last_column_ - first_column_);
  (frame.pixel_bytes == 4 ? sums_.clear() : sums_.assign(channels, 0));
  (frame.pixel_bytes == 4 ? long_sums_.assign(channels, 0) : long_sums_.clear());
  without_data_.assign(channels, 0);
  spectrum_.resize(channels);
  unpack(frame);
  if (frame.pixel_bytes == 4)
    finish<uint64_t>();
  else
    finish<uint32_t>();
  return spectrum_;
}

void FrameSum::unpack(const EncodedFrame& frame) {
  const auto row_bytes = static_cast<size_t>(frame.columns * frame.pixel_bytes);
  const size_t size = static_cast<size_t>(frame.rows) * row_bytes;
  switch (frame.packing) {
    case FramePacking::none:
      if (frame.bytes.size() != size) {
        throw BadMessage("an image of " + std::to_string(frame.bytes.size()) + " bytes; its size says " +
                         std::to_string(size));
      }
      return add(frame, 0, frame.bytes);
    case FramePacking::lz4: {
      const std::span<std::byte> needed =
          room(unpacked_, static_cast<size_t>(last_row_) * row_bytes, frame.bytes.size());
      unpack_lz4(frame.bytes, size, needed);
      return add(frame, 0, needed);
    }
    case FramePacking::lz4_blocks:
    case FramePacking::bitshuffle_lz4:
      return unpack_blocks(frame);
  }
}

void FrameSum::unpack_blocks(const EncodedFrame& frame) {
  const bool shuffled = frame.packing == FramePacking::bitshuffle_lz4;
  const auto pixel = static_cast<size_t>(frame.pixel_bytes),
             element = static_cast<size_t>(frame.shuffled_bytes);
  const auto size = static_cast<size_t>(frame.rows * frame.columns) * pixel;
  std::span<const std::byte> rest = frame.bytes;
  // Who takes the size from elsewhere may have left the header empty.
  const auto stated = take<uint64_t>(rest);
  size_t block = take<uint32_t>(rest);
  if (stated != size && (stated || block)) damaged("it is of another size than the image");
  if (block == 0) block = shuffled ? usual_block : size;
  block = std::min(block, size);
  // Blocks are of whole pixels, and of eight elements where their bits are apart.
  const size_t group = shuffled ? 8 * element : 1;
  if (shuffled) {
    if (block < size && block % group != 0) damaged("blocks of " + std::to_string(block) + " bytes");
    if (size % element != 0) damaged("no whole number of elements");
  }
  if (block < size && block % pixel != 0) damaged("blocks of " + std::to_string(block) + " bytes");

  const auto row_bytes = static_cast<size_t>(frame.columns) * pixel;
  const size_t begin = static_cast<size_t>(first_row_) * row_bytes,
               end = static_cast<size_t>(last_row_) * row_bytes;
  for (size_t offset = 0; offset < end;) {
    // The last block is shorter, by what is no whole byte of a plane, too; that follows as it was.
    const size_t bytes = std::min(block, size - offset) / group * group;
    if (bytes == 0) {
      if (rest.size() < size - offset) damaged("it ends too early");
      add(frame, offset, rest.first(size - offset));
      return;
    }
    const size_t packed = take<uint32_t>(rest);
    if (packed > rest.size()) damaged("it ends too early");
    if (offset + bytes > begin) {
      std::span<const std::byte> block_bytes = rest.first(packed);
      if (shuffled || packed != bytes) {  // else LZ4 had not made it shorter
        const size_t needed = shuffled ? bytes : std::min(bytes, end - offset);
        const std::span<std::byte> unpacked = room(unpacked_, needed, packed);
        unpack_lz4(block_bytes, bytes, unpacked);
        block_bytes = unpacked;
      }
      if (shuffled) {
        if (joined_.size() < bytes) joined_.resize(bytes);
        join_bit_planes(block_bytes, element, std::span(joined_).first(bytes));
        block_bytes = std::span<const std::byte>(joined_).first(bytes);
      }
      add(frame, offset, block_bytes);
    }
    rest = rest.subspan(packed);
    offset += bytes;
  }
}

void FrameSum::add(const EncodedFrame& frame, size_t offset, std::span<const std::byte> bytes) {
  switch (frame.pixel_bytes) {
    case 1:
      return add_pixels<uint8_t>(frame, offset, bytes);
    case 2:
      return add_pixels<uint16_t>(frame, offset / sizeof(uint16_t), bytes);
    default:
      return add_pixels<uint32_t>(frame, offset / sizeof(uint32_t), bytes);
  }
}

// Pixels from number `first` of the image on.
template <class Pixel>
void FrameSum::add_pixels(const EncodedFrame& frame, size_t first, std::span<const std::byte> bytes) {
  const auto columns = static_cast<size_t>(frame.columns);
  const auto left = static_cast<size_t>(first_column_), right = static_cast<size_t>(last_column_);
  const size_t begin = std::max(first, static_cast<size_t>(first_row_) * columns);
  const size_t end = std::min(first + bytes.size() / sizeof(Pixel), static_cast<size_t>(last_row_) * columns);
  const bool swap = frame.big_endian != (std::endian::native == std::endian::big);
  for (size_t at = begin; at < end;) {
    const size_t row = at / columns * columns;
    const size_t from = std::max(at - row, left), to = std::min(end - row, right);
    if (from < to) {
      const std::byte* pixels = bytes.data() + (row + from - first) * sizeof(Pixel);
      if constexpr (sizeof(Pixel) == 4)
        add_row<Pixel>(pixels, swap, to - from, &long_sums_[from - left], &without_data_[from - left]);
      else
        add_row<Pixel>(pixels, swap, to - from, &sums_[from - left], &without_data_[from - left]);
    }
    at = row + columns;
  }
}

template <class Sum>
void FrameSum::finish() {
  const Sum* sums;
  if constexpr (std::is_same_v<Sum, uint64_t>)
    sums = long_sums_.data();
  else
    sums = sums_.data();
  const size_t channels = spectrum_.size();
  for (size_t c = 0; c < channels; ++c) spectrum_[c] = static_cast<float>(sums[c]);
  drawn_columns_ = 0;
  if (std::all_of(without_data_.begin(), without_data_.end(), [](uint16_t count) { return count == 0; }))
    return;

  const int64_t rows = last_row_ - first_row_;
  const auto has_data = [&](size_t c) { return without_data_[c] < rows; };
  for (size_t c = 0; c < channels; ++c) {
    if (without_data_[c] == 0 || !has_data(c)) continue;
    spectrum_[c] = static_cast<float>(static_cast<double>(sums[c]) * static_cast<double>(rows) /
                                      static_cast<double>(rows - without_data_[c]));
  }
  for (size_t c = 0; c < channels;) {
    if (has_data(c)) {
      ++c;
      continue;
    }
    size_t end = c;
    while (end < channels && !has_data(end)) ++end;
    if (end - c == channels) throw BadMessage("an image without data in the region");
    const float left = c > 0 ? spectrum_[c - 1] : spectrum_[end],
                right = end < channels ? spectrum_[end] : left;
    const auto gap = static_cast<float>(end - c + 1);
    drawn_columns_ += static_cast<int64_t>(end - c);
    for (size_t i = c; i < end; ++i)
      spectrum_[i] = left + (right - left) * static_cast<float>(i - c + 1) / gap;
    c = end;
  }
}

}  // namespace eelsvae
