#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/config.h"
#include "kernels/image_operations.h"

namespace eelsvae {

// The percentiles (0 to 100, ascending) of an image's counts but those of excluded pixels, interpolated
// linearly between neighbours as np.percentile does.
std::vector<double> percentiles(DeviceImage& image, std::span<const double> percents);

// Whether counts come out of it clipped to the ends of a range.
constexpr bool clips(Scaling method) {
  return method == Scaling::robust_minmax || method == Scaling::quantile;
}

// How counts become what the network sees. Fitted on a training image, kept with the model, and applied
// unchanged to every image the model is shown.
//
//   robust_minmax   (x - lower) / (upper - lower), clipped to [0, 1]; lower, upper: two percentiles
//   minmax          the same with the extremes, not clipped (other images may go beyond)
//   zscore          (x - mean) / standard deviation
//   quantile        the share of training counts below x, piecewise linear between up to 1000 quantiles and
//                   clipped to [0, 1], as sklearn's QuantileTransformer with its uniform output
//   none            x
struct ScalingParameters {
  Scaling method = Scaling::none;
  double offset = 0, range = 1;   // robust_minmax, minmax, zscore: scaled = (x - offset) / range, counts
  std::vector<double> quantiles;  // quantile: counts, ascending, at equally spaced shares from 0 to 1

  // To the pixels that are not excluded. UserError if their counts leave nothing to scale by: all of them, or
  // all between the percentiles, are equal.
  static ScalingParameters fit(DeviceImage& image, const PreprocessConfig& config);

  // As a map of counts; none for quantile, which DeviceImage::map_to_shares() applies.
  std::optional<LinearMap> linear() const;
  // Back to counts, in place; what was clipped comes back as the limit it was clipped to.
  void invert(std::span<float> scaled) const;

  bool operator==(const ScalingParameters&) const = default;
};

}  // namespace eelsvae
