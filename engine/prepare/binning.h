#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "engine/image/image_to_read.h"

namespace eelsvae {

// Pixels [first, last) of an axis, as preprocess.crop_y and crop_x name them.
using PixelRange = std::optional<std::array<int64_t, 2>>;

// The image with nothing but this part, of which at least a pixel and a channel is left: read, or cropped in
// the image's own memory. `all_finite` is told whether all counts are finite; false where that is not known.
SpectrumImage take_part(ImageToRead from, const ImagePart& part, bool& all_finite);

// Axes and mask alone.
void crop_axes(SpectrumImage& image, const ImagePart& part);
void bin_axes(SpectrumImage& image, int64_t pixels, int64_t channels);

// Adds up the counts of `pixels` x `pixels` pixels and of `channels` channels. What does not fill a bin is
// left out: rows at the bottom, columns on the right, channels at the high-energy end. A bin's coordinate is
// its centre. Sums of whole counts are exact up to 2^24. A binned pixel is excluded if any of its pixels is.
// UserError if a bin is larger than the image or the axis.
void bin(SpectrumImage& image, int64_t pixels, int64_t channels);

// The same for a mask (y, x) that belongs to an image: the part that is kept, and what
// any pixel of the bin has.
std::vector<uint8_t> crop_mask(const std::vector<uint8_t>& mask, int64_t width, std::array<int64_t, 2> y,
                               std::array<int64_t, 2> x);
std::vector<uint8_t> bin_mask(const std::vector<uint8_t>& mask, int64_t height, int64_t width,
                              int64_t pixels);

// The pixels that a key keeps of an axis of `size` pixels; absent: all. UserError, with the key, if the range
// is empty or leaves the image.
std::array<int64_t, 2> checked_range(const PixelRange& range, int64_t size, const char* key);

}  // namespace eelsvae
