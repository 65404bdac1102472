#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// Pixels that are left out: SpectrumImage::excluded. What their counts hold is of no consequence, be it NaN;
// after preprocessing their spectra are zero, which the losses leave out (kernels/reconstruction_loss.h) and
// a convolution sees as it sees the padding beyond a tile's border.

// Why: what a mask may hold, added up.
enum Exclusion : uint8_t {
  by_request = 1,
  without_counts = 2,  // engine/prepare/set_aside.h
  saturated = 4,
  set_aside = without_counts | saturated,  // by itself
};

// Excludes the rectangle [y0, x0, y1, x1), in pixels, by request; the mask must have the image's size.
// UserError where it reaches beyond the image.
void exclude_rectangle(SpectrumImage& image, const std::array<int64_t, 4>& rectangle);

// How many pixels a mask (y, x) excludes, for any of the reasons `why`; an empty one excludes none.
int64_t excluded_pixels(std::span<const uint8_t> excluded, uint8_t why = 0xff);

// Sets every count of the excluded pixels of a cube (y, x, E).
void fill_excluded(std::span<const uint8_t> excluded, std::span<float> cube, float counts);

}  // namespace eelsvae
