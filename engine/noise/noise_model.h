#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// The noise of counts c = offset + range * v is c's shot noise, multiplied by the detector's gain, over a
// readout floor (Poisson-Gaussian; Foi et al., IEEE Trans. Image Process. 17, 1737 (2008)). Scaling is
// affine, so in prepared units the variance is affine in the expected intensity too:
//   variance(pixel, e) = pixel factor(pixel) * channel factor(e) * (floor + gain * expected)
struct NoiseModel {
  double floor = 0, gain = 0;
  // (E) what channels have more than the affine law says, or clearly less. Where counts are clipped,
  // to the scaling's range or at 0, never less than 1: they hardly spread, and the few that are not clipped
  // would seem far too many deviations off. Empty: 1 everywhere.
  std::vector<float> channel_factor = {};
  // (y, x) what filters leave in pixels at borders beyond what they leave in others (filtered_noise.h).
  // Empty: 1 everywhere.
  std::vector<float> pixel_factor = {};
  // [l - 1] how the noise of channels l apart correlates, l up to 4, or less where there are fewer than 32
  // channels: detectors spread electrons over channels, interpolation and filters spread counts. Empty: none
  // that matters. It changes no variance.
  std::vector<double> correlation = {};

  // (E) the share of a channel's values that are the largest or the smallest of all: what was clipped to the
  // ends of the scaling's range, if it has one. Empty: none. It changes no variance.
  std::vector<float> clipped = {};

  double variance(int64_t pixel, int64_t channel, double expected) const;
};

// Measures the noise in what an image shows beyond `expected` (y, x, E): in differences between pixels that
// lie `lag` apart along x (along y where the image is too narrow), because what varies slowly over the
// specimen cancels in them. The affine law is fitted to differences sorted by what is expected of the two
// pixels there, so that bright and dim materials, or vacuum, each count for their own level. Spread is 1.4826
// times the median absolute deviation, so that anomalous pixels and borders between phases, as long as they
// are few, do not count; nor do they in the correlation along energy, which is that of all channels. lag: the
// first distance at which a spatial filter leaves neighbours independent. UserError if no two pixels are that
// far apart, or all differences are zero.
NoiseModel estimate_noise(const SpectrumImageView& observed, std::span<const float> expected, int64_t lag,
                          std::vector<float> pixel_factor = {});

}  // namespace eelsvae
