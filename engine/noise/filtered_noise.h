#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// How much noise the filters of preprocessing leave in each pixel, as a variance relative to a pixel far from
// borders and excluded pixels, (y, x): the sum of the squared weights that recorded pixels have in it, over
// the sum of an interior one. A mean over 3 x 3 pixels has 1.67 times the variance at a border, where the
// mirrored image counts one line twice, and 2.78 times in a corner; beside excluded pixels fewer are
// averaged. 1 in excluded pixels. sigma, window: as of gaussian_weights() and mean_weights(), which are
// applied one after the other. Of the image only its size and excluded pixels are read.
std::vector<float> filtered_noise(const SpectrumImageView& image, double sigma, int64_t window);
// The same of rows [first, last) of an image.
struct PixelMask {
  int64_t height, width;
  std::span<const uint8_t> excluded;  // (y, x), or none
};
std::vector<float> filtered_noise(const PixelMask& image, double sigma, int64_t window, int64_t first,
                                  int64_t last);

// The distance in pixels from which on those filters leave the noise of two pixels independent.
int64_t noise_lag(double sigma, int64_t window);

// The variance of the noise in the mean of pixels, in units of one pixel's: 1 / n without filters, more after
// them, because neighbours share noise. As if all lay far from borders and excluded pixels. pixels: ascending
// indices y * width + x.
double noise_of_mean(std::span<const int64_t> pixels, int64_t width, double sigma, int64_t window);

}  // namespace eelsvae
