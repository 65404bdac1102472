#pragma once

#include <optional>
#include <vector>

#include "engine/config.h"
#include "engine/detect/amounts_score.h"
#include "engine/detect/expectation.h"
#include "engine/detect/learned_score.h"
#include "engine/detect/normal_variation.h"
#include "engine/detect/residual_model.h"
#include "engine/detect/whitened_score.h"
#include "engine/image/energy_axis.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

// What scores measure in an image as a whole. Kept, other images are scored as this one was, and by the same
// threshold (detection_state.h).
struct ScoreState {
  ResidualModel residuals;             // without factors of pixels, which follow from an image's borders
  std::vector<double> mean_expected;   // (E) MatchedFilters has both
  std::vector<float> inverse_spreads;  // (filters)
};

// Whether a score measures no more in an image than ScoreState keeps. The others set several scores of one
// image against each other.
constexpr bool can_be_kept(Score score) {
  return score == Score::whitened || score == Score::learned || score == Score::deviance ||
         score == Score::pearson || score == Score::pearson_background;
}

// Scores every pixel of a prepared image by one or several scores, before any threshold. What scores share,
// the model of the residuals and their matched filters, takes the most time and is made once, when it is
// first needed. Refers to its arguments, which must outlive it.
class Scorer {
 public:
  // state: of another image, to take in place of what would be measured in this one; null: none. UserError if
  // the configured window is not on the energy axis.
  Scorer(const SpectrumImageView& prepared, const Expectation& expectation,
         const PreprocessConfig& preprocess, const DetectionConfig& config,
         const ScoreState* state = nullptr);
  // Rows of a larger image, of which is known what a Scorer would find in that: the model with the noise that
  // filters leave in these pixels, the amounts of all, the filters, and, for Score::learned, the head.
  // `first`: their first row there; expected: their spectra, in place of the expectation's.
  struct Surrounded {
    std::span<const float> expected;
    const ResidualModel& residuals;
    const AmountMaps& amounts;
    const MatchedFilters& filters;
    HeadScorer* head;
    int64_t first;
  };
  Scorer(const SpectrumImageView& rows, const Expectation& expectation, const PreprocessConfig& preprocess,
         const DetectionConfig& config, const Surrounded& surrounded);

  ChannelWindow window() const { return window_; }
  // UserError where the noise cannot be measured.
  const ResidualModel& residuals();
  const NormalVariation& variation();
  const MatchedFilters& filters();
  const WhitenedScores& whitened();
  ScoreState state();
  const AmountScores& amounts();  // none of a projection
  // (y, x), NaN in excluded pixels; pooled if configured. Where the expectation has scores of its own, these,
  // whichever is asked for. UserError as residuals(), or where pooling cannot find a null, or of
  // Score::amounts, where none are foretold.
  std::vector<float> scores(Score score);

 private:
  std::vector<float> raw_scores(Score score);

  SpectrumImageView prepared_;
  const Expectation& expectation_;
  std::span<const float> expected_;
  const PreprocessConfig& preprocess_;
  const DetectionConfig& config_;
  const ScoreState* state_;
  std::optional<Surrounded> surrounded_;
  ChannelWindow window_;
  std::vector<float> pixel_noise_;  // (y, x), filtered_noise.h
  std::optional<ResidualModel> own_residuals_;
  const ResidualModel* residuals_ = nullptr;
  std::optional<NormalVariation> variation_;
  std::optional<MatchedFilters> own_filters_;
  const MatchedFilters* filters_ = nullptr;
  std::optional<WhitenedScores> whitened_;
  std::optional<AmountScores> amounts_;
};

}  // namespace eelsvae
