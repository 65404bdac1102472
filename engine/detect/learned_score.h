#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/detect/normal_variation.h"
#include "engine/image/energy_axis.h"
#include "engine/image/spectrum_image.h"
#include "engine/score_head/head_rows.h"
#include "engine/score_head/head_training.h"
#include "engine/score_head/score_head.h"

namespace eelsvae {

// Scores spectra of a window of an energy axis by a head (engine/score_head/score_head.h). It sees the
// residual as whitened_score.h does, without what the surroundings foretell and with the covariance that
// normal spectra have there made white, C^-1/2 z with C^-1/2 = I - U^T diag(1 - 1 / sqrt(1 + L)) U.
class HeadScorer {
 public:
  HeadScorer(const Axis& energy, ChannelWindow window, const ScoreHead& head);

  // (y, x), in standard deviations, nearly; NaN in excluded pixels.
  std::vector<float> scores(const SpectrumImageView& observed, std::span<const float> expected,
                            const NormalVariation& variation);

 private:
  HeadAxis axis_;
  std::unique_ptr<Backend> backend_;
  ScoreHeadNetwork network_;
  std::vector<float> rows_;  // (batch, positions, features)
};

// What a head can learn of an image: `most` of its pixels at most, spread evenly over those that are not
// nonzero in left_out (y, x; or empty).
HeadExamples head_examples(const SpectrumImageView& observed, std::span<const float> expected,
                           const NormalVariation& variation, ChannelWindow window, int64_t most,
                           std::span<const uint8_t> left_out = {});

}  // namespace eelsvae
