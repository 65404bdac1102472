#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/config.h"
#include "kernels/image_operations.h"

namespace eelsvae {

// The percentiles (0 to 100, ascending) of finite values, interpolated linearly between neighbours as
// np.percentile does. Exact, without a sorted copy: three passes over the values, whatever their number.
std::vector<double> percentiles(std::span<const float> values, std::span<const double> percents);

// What a scaling has to know of counts, wherever they lie.
class CountStatistics {
 public:
  virtual ~CountStatistics() = default;
  virtual int64_t count() const = 0;
  // The values at the given ranks (0: the smallest).
  virtual std::vector<float> at_ranks(std::span<const int64_t> ranks) const = 0;
  virtual double sum() const = 0;
  // Sum of (x - mean)^2.
  virtual double squared_deviations(double mean) const = 0;
};

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

  // UserError if the counts leave nothing to scale by: all of them, or all between the percentiles, are
  // equal.
  static ScalingParameters fit(const CountStatistics& counts, const PreprocessConfig& config);
  static ScalingParameters fit(std::span<const float> counts, const PreprocessConfig& config);

  // In place.
  void apply(std::span<float> counts) const;
  // The same as a linear map, for every method but quantile.
  std::optional<LinearMap> linear() const;
  // Back to counts, in place; what was clipped comes back as the limit it was clipped to.
  void invert(std::span<float> scaled) const;

  bool operator==(const ScalingParameters&) const = default;
};

}  // namespace eelsvae
