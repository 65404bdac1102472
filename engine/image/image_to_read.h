#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <utility>

#include "engine/image/energy_axis.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

// Rows, columns and channels [first, last) of an image.
struct ImagePart {
  std::array<int64_t, 2> y, x;
  ChannelWindow energy;
  // Another part of this image is read next: what is unpacked from its beginning need not be to its end, and
  // goes on from there if that part lies behind this one.
  bool more = false;
};

// A spectrum image of which only what is needed is read: its axes, the mask and all else are there, and the
// counts are to come. Or one that is there wholly.
struct ImageToRead {
  // Reads the part's counts (y, x, E) into the array, which takes their size. Returns whether all are finite.
  using Read = std::function<bool(const ImagePart& part, CountArray& counts)>;

  ImageToRead(SpectrumImage whole) : image(std::move(whole)) {}
  ImageToRead(SpectrumImage without_counts, Read read_part)
      : image(std::move(without_counts)), read(std::move(read_part)) {}

  SpectrumImage image;
  Read read;  // null: the counts are there
  // How many elements along y, x and E are unpacked together, whatever is wanted of them, as a chunk's are;
  // null: none.
  std::function<std::array<int64_t, 3>()> together = {};
};

}  // namespace eelsvae
