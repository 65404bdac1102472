#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/config.h"
#include "engine/image/spectrum_image.h"
#include "engine/image/tiling.h"

namespace eelsvae {

// Spectra on which predictions are compared: rectangles of a prepared image, one below the other. They are
// there twice, as recorded and with a draw of noise of the same kind on top, so that whoever copies the noise
// of what it is shown gives itself away.
struct PredictionSample {
  SpectrumImage observed;  // (rectangles * height, width, E); excluded: spectra that do not count
  CountArray disturbed;    // observed, and half a standard deviation of fresh noise
  CountArray variance;     // of the noise in observed
  int64_t height = 0;      // of a rectangle

  int64_t rectangles() const { return observed.y.size / height; }
  int64_t spectra() const;  // that count
  // Rectangle number i, as recorded or disturbed.
  SpectrumImageView rectangle(int64_t i, bool with_fresh_noise) const;
};

// Takes the rectangles (height, width) at the origins, or evenly chosen ones of them where they hold more
// than 64 MiB. counted (y, x): spectra of the image that count, nonzero; excluded ones never do, nor the 2 %
// that depart most from the mean spectrum. The noise is measured in the rectangles and drawn as the filters
// of preprocessing leave it. Absent where the noise cannot be measured (rectangles less than three
// times as wide as the filters reach) or no spectrum counts.
std::optional<PredictionSample> make_prediction_sample(const SpectrumImageView& prepared,
                                                       std::vector<TileOrigin> origins, int64_t height,
                                                       int64_t width, std::span<const uint8_t> counted,
                                                       const PreprocessConfig& preprocess, uint64_t seed);

// Gives every expected spectrum (y, x, E) the total of the observed one. What foretells totals, too, is
// compared by the shapes alone with what takes totals as they are, like the mean spectrum.
void take_totals(const SpectrumImageView& observed, std::span<float> expected);

// The predictive deviance: the mean over the counted spectra of the squared difference between what is
// expected and what another recording of the same pixels would show, in units of the noise's variance. 1 is
// the best there is; what is expected of every pixel by itself adds its own error; a copy of the observed
// spectra has 2. With o as observed, v its variance, x(o) the expected values and b = s n fresh noise of
// standard deviation s sqrt(v),
//   mean (o - x(o))^2 / v  +  2 mean b (x(o + b) - x(o)) / (s^2 v),
// Mallows' covariance penalty for any estimator (Efron, JASA 99, 619 (2004)), its derivative by a random
// probe (Ramani, Blu & Unser, IEEE Trans. Image Process. 17, 1540 (2008)). expected, of_disturbed: of
// sample.observed and of sample.disturbed, (y, x, E).
double predictive_deviance(const PredictionSample& sample, std::span<const float> expected,
                           std::span<const float> of_disturbed);

}  // namespace eelsvae
