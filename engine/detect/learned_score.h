#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/detect/normal_variation.h"
#include "engine/image/energy_axis.h"
#include "engine/image/spectrum_image.h"
#include "engine/score_head/head_training.h"
#include "engine/score_head/score_head.h"

namespace eelsvae {

// Scores (y, x) of a head (engine/score_head/score_head.h), in standard deviations, nearly; NaN in excluded
// pixels. It sees the residual as whitened_score.h does, without what the surroundings foretell and with the
// covariance that normal spectra have there made white, C^-1/2 z with C^-1/2 = I - U^T diag(1 - 1 / sqrt(1 +
// L)) U.
std::vector<float> learned_scores(const SpectrumImageView& observed, std::span<const float> expected,
                                  const NormalVariation& variation, ChannelWindow window,
                                  const ScoreHead& head);

// What a head can learn of an image: `most` of its pixels at most, spread evenly over those that are not
// nonzero in left_out (y, x; or empty).
HeadExamples head_examples(const SpectrumImageView& observed, std::span<const float> expected,
                           const NormalVariation& variation, ChannelWindow window, int64_t most,
                           std::span<const uint8_t> left_out = {});

}  // namespace eelsvae
