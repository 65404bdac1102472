#pragma once

#include <optional>
#include <vector>

#include "engine/config.h"
#include "engine/detect/amounts_score.h"
#include "engine/detect/expectation.h"
#include "engine/detect/normal_variation.h"
#include "engine/detect/residual_model.h"
#include "engine/detect/whitened_score.h"
#include "engine/image/energy_axis.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

// Scores every pixel of a prepared image by one or several scores, before any threshold. What scores share,
// the model of the residuals and their matched filters, takes the most time and is made once, when it is
// first needed. Refers to its arguments, which must outlive it.
class Scorer {
 public:
  // UserError if the configured window is not on the energy axis.
  Scorer(const SpectrumImageView& prepared, const Expectation& expectation,
         const PreprocessConfig& preprocess, const DetectionConfig& config);

  ChannelWindow window() const { return window_; }
  // UserError where the noise cannot be measured.
  const ResidualModel& residuals();
  const NormalVariation& variation();
  const WhitenedScores& whitened();
  const AmountScores& amounts();  // none of a projection
  // (y, x), NaN in excluded pixels; pooled if configured. Where the expectation has scores of its own, these,
  // whichever is asked for. UserError as residuals(), or where pooling cannot find a null, or of
  // Score::amounts, where none are foretold.
  std::vector<float> scores(Score score);

 private:
  std::vector<float> raw_scores(Score score);

  SpectrumImageView prepared_;
  const Expectation& expectation_;
  const PreprocessConfig& preprocess_;
  const DetectionConfig& config_;
  ChannelWindow window_;
  std::vector<float> pixel_noise_;  // (y, x), filtered_noise.h
  std::optional<ResidualModel> residuals_;
  std::optional<NormalVariation> variation_;
  std::optional<WhitenedScores> whitened_;
  std::optional<AmountScores> amounts_;
};

}  // namespace eelsvae
