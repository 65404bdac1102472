#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/detect/deviation.h"
#include "engine/detect/normal_variation.h"
#include "engine/image/energy_axis.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

struct WhitenedScores {
  std::vector<float> scores;          // (y, x); NaN in excluded pixels
  std::vector<Deviation> deviations;  // (y, x): what the score was reached by
};

// What is looked for in residuals, at every energy of the window: shapes t, a peak (Gaussian) and
// a pair of opposite peaks (its derivative, what a shift leaves), half a channel to a sixteenth of the axis
// wide; and, in windows of 8 channels to a quarter of the axis, the fine structure of the mean expected
// spectrum and its first and second derivative: edges that grow, move or broaden. Shapes go through the
// model's whitening, as z does.
class MatchedFilters {
 public:
  // For an image, the spread of each filter's responses measured in it.
  MatchedFilters(const SpectrumImageView& observed, std::span<const float> expected,
                 const NormalVariation& variation, ChannelWindow window);
  // As they were made for another image: its mean_expected() and inverse_spreads(). UserError if these are
  // not of the filters that this library makes of them.
  MatchedFilters(const Axis& energy, std::vector<double> mean_expected, std::vector<float> inverse_spreads,
                 const ResidualModel& model, ChannelWindow window);
  ~MatchedFilters();
  MatchedFilters(MatchedFilters&&) noexcept;

  const std::vector<double>& mean_expected() const { return mean_expected_; }     // (E)
  const std::vector<float>& inverse_spreads() const { return inverse_spreads_; }  // (filters) 1 / s_t, below

  struct Bank;
  const Bank& bank() const { return *bank_; }
  ChannelWindow window() const { return window_; }

 private:
  ChannelWindow window_;
  std::vector<double> mean_expected_;
  std::unique_ptr<const Bank> bank_;
  std::vector<float> inverse_spreads_;
};

// The largest smoothed, noise-whitened residual over energy, in standard deviations. With z, U and the
// covariance I + U^T diag(L) U of ResidualModel, the matched filter (Kay, Fundamentals of Statistical Signal
// Processing II, 4.4) is
//   y_t = t^T C^-1 z / sqrt(t^T C^-1 t),   C^-1 = I - U^T diag(L / (1 + L)) U,
// and the score max_t |y_t| / s_t, s_t being the spread that y_t has over the image, or the median over all t
// if that is more.
//
// The amounts U z and L are those of NormalVariation, what the surrounding pixels foretell taken out. So a
// composition that changes over the specimen or a drifting scan line is no anomaly, but the same change in a
// single pixel is; and where neighbours differ by nature, as at an interface, more is needed.
WhitenedScores whitened_scores(const SpectrumImageView& observed, std::span<const float> expected,
                               const NormalVariation& variation, const MatchedFilters& filters);

}  // namespace eelsvae
