#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// Pixels [first, last) of an axis, as preprocess.crop_y and crop_x name them.
using PixelRange = std::optional<std::array<int64_t, 2>>;

// Keeps these pixels, in place; absent: all. UserError if a range is empty or leaves the image.
void crop_pixels(SpectrumImage& image, const PixelRange& y, const PixelRange& x);

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

// The range that crop_pixels() takes of an axis of `size` pixels; key: for the UserError.
std::array<int64_t, 2> checked_range(const PixelRange& range, int64_t size, const char* key);

}  // namespace eelsvae
