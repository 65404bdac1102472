#include "engine/detection.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include <boost/math/special_functions/erf.hpp>

#include "engine/excluded.h"
#include "engine/pooling.h"
#include "engine/scores.h"
#include "engine/thresholds.h"
#include "engine/whitened_score.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

// Distance from which on pixels share no noise: beyond the reach of both filters.
int64_t noise_lag(const PreprocessConfig& preprocess) {
  const auto filter = static_cast<int64_t>(std::ceil(2 * preprocess.sigma));
  return preprocess.xy_window + 2 * filter;
}

// Edges are narrower than this, backgrounds wider.
double background_smoothing(const Axis& energy) {
  constexpr double smoothing_ev = 10;
  return std::max(2.0, smoothing_ev / energy.scale);
}

void leave_out(const std::vector<uint8_t>& excluded, std::vector<float>& map) {
  for (size_t pixel = 0; pixel < excluded.size(); ++pixel)
    if (excluded[pixel]) map[pixel] = std::numeric_limits<float>::quiet_NaN();
}

// Pearson's correlation is normally distributed after Fisher's transformation, a mean of squares after Wilson
// and Hilferty's.
std::vector<float> fisher(std::vector<float> scores) {  // -artanh(r) = ln((1 - r) / (1 + r)) / 2
  for (float& score : scores) score = 0.5f * std::log(std::clamp(score / (2 - score), 1e-12f, 1e12f));
  return scores;
}
std::vector<float> wilson_hilferty(std::vector<float> scores) {
  for (float& score : scores) score = std::cbrt(score);
  return scores;
}

// The z with 1 - Phi(z) = p.
double normal_score(double p) {
  return std::sqrt(2.0) * boost::math::erfc_inv(2 * std::clamp(p, 1e-300, 1 - 1e-16));
}

// Cauchy's combination of p-values, which holds however they depend on each other (Liu and Xie, JASA 115, 393
// (2020)), as a normal score.
std::vector<float> combine(const std::vector<std::vector<float>>& maps,
                           const std::vector<uint8_t>& excluded) {
  std::vector<double> sums(maps.front().size());
  for (const std::vector<float>& map : maps) {
    const EmpiricalNull null = fit_null(map, excluded);
    for (size_t pixel = 0; pixel < map.size(); ++pixel) {
      const double p = std::clamp(null.p_value(static_cast<double>(map[pixel])), 1e-300, 1 - 1e-12);
      sums[pixel] += 1 / std::tan(std::numbers::pi * p) / static_cast<double>(maps.size());
    }
  }
  std::vector<float> scores;
  for (double sum : sums) {
    const double p = sum > 1e8 ? 1 / (std::numbers::pi * sum) : 0.5 - std::atan(sum) / std::numbers::pi;
    scores.push_back(static_cast<float>(normal_score(p)));
  }
  return scores;
}

std::vector<float> scores_of(Score score, const SpectrumImage& prepared, const Expectation& expectation,
                             const DetectionConfig& config, const Scored& scored,
                             const std::vector<float>& whitened) {
  const std::vector<float>& expected = expectation.spectra;
  auto background = [&] {
    return pearson_background_scores(prepared, expected, scored.window,
                                     background_smoothing(prepared.energy));
  };
  switch (score) {
    case Score::whitened:
      return whitened;
    case Score::deviance:
      return deviance_scores(prepared, expected, scored.residuals, scored.window);
    case Score::pearson:
      return pearson_scores(prepared, expected, scored.window);
    case Score::pearson_background:
      return background();
    case Score::combined:
      return combine(
          {whitened, wilson_hilferty(deviance_scores(prepared, expected, scored.residuals, scored.window)),
           fisher(background())},
          prepared.excluded);
    case Score::latent: {
      expect(expectation.grid.has_value(), "a latent score without a model");
      const int64_t units = std::ssize(expectation.latent) / expectation.grid->size();
      return latent_scores(pearson_scores(prepared, expected, scored.window), prepared, *expectation.grid,
                           latent_rarity(expectation.latent, units), config.blend);
    }
  }
  throw std::logic_error("internal error: unknown score");
}

// Evidence as a standard normal variable, pooled over neighbours.
void pool(const SpectrumImage& prepared, double sigma, std::vector<float>& scores) {
  const EmpiricalNull null = fit_null(scores, prepared.excluded);
  for (float& score : scores)
    score = static_cast<float>(normal_score(null.p_value(static_cast<double>(score))));
  leave_out(prepared.excluded, scores);
  scores = pool_evidence(scores, prepared.y.size, prepared.x.size, sigma);
}

std::optional<EmpiricalNull> null_if_any(const std::vector<float>& scores,
                                         const std::vector<uint8_t>& excluded) {
  try {
    return fit_null(scores, excluded);
  } catch (const UserError&) {
    return std::nullopt;  // other thresholds do without it
  }
}

}  // namespace

int64_t Detection::anomalous_pixels() const {
  return std::count(mask.begin(), mask.end(), uint8_t{1});
}

std::optional<double> Detection::expected_false_alarms() const {
  if (!null) return std::nullopt;
  const auto scored = std::count_if(scores.begin(), scores.end(), [](float s) { return !std::isnan(s); });
  return static_cast<double>(scored) * null->normal_share * null->p_value(threshold);
}

void check_detection(const SpectrumImage& prepared, int64_t tile, const DetectionConfig& config) {
  if (config.window) channel_window(prepared.energy, *config.window);
  if (tile == 0 && config.score == Score::latent)
    throw UserError("detection.score=latent needs a model; a baseline has no latent space");
  if (tile == 0 && !config.threshold && config.threshold_method == ThresholdMethod::conformal)
    throw UserError("detection.threshold_method=conformal needs a model; a baseline holds no spectra out");
  if (std::min(prepared.y.size, prepared.x.size) < tile)
    throw UserError("the image, " + std::to_string(prepared.y.size) + " x " +
                    std::to_string(prepared.x.size) + " pixels, is smaller than the model's tiles, " +
                    std::to_string(tile) + " x " + std::to_string(tile));
}

Expectation expect_from(Model& model, const SpectrumImage& prepared, const DetectionConfig& config,
                        const std::function<bool(int64_t, int64_t)>& after_batch) {
  Reconstruction reconstruction =
      reconstruct_image(model, prepared, config.stride, config.blend, after_batch);
  if (!reconstruction.spectra.empty()) fill_excluded(prepared.excluded, reconstruction.spectra, 0);
  return {std::move(reconstruction.spectra),
          {},
          std::move(reconstruction.grid),
          std::move(reconstruction.latent)};
}

Expectation expect_from(const Baseline& baseline, const SpectrumImage& prepared) {
  return {baseline.expected(prepared), baseline.own_scores(prepared).value_or(std::vector<float>{}), {}, {}};
}

Scored score_spectra(const SpectrumImage& prepared, const Expectation& expectation,
                     const PreprocessConfig& preprocess, const DetectionConfig& config) {
  Scored scored;
  scored.window = config.window ? channel_window(prepared.energy, *config.window)
                                : ChannelWindow{0, prepared.energy.size};
  scored.residuals = fit_residual_model(prepared, expectation.spectra, noise_lag(preprocess));
  WhitenedScores whitened =
      whitened_scores(prepared, expectation.spectra, scored.residuals, scored.window, config.context);
  // Whatever the score, the strongest residual explains it best.
  scored.deviations = std::move(whitened.deviations);
  scored.scores = expectation.own_scores.empty()
                      ? scores_of(config.score, prepared, expectation, config, scored, whitened.scores)
                      : expectation.own_scores;
  if (config.pooling > 0) pool(prepared, config.pooling, scored.scores);
  leave_out(prepared.excluded, scored.scores);
  return scored;
}

Detection detect(const SpectrumImage& prepared, const Expectation& expectation,
                 const PreprocessConfig& preprocess, const DetectionConfig& config,
                 std::span<const float> held_out) {
  Scored scored = score_spectra(prepared, expectation, preprocess, config);
  Detection found;
  found.scores = std::move(scored.scores);
  found.deviations = std::move(scored.deviations);
  found.window = scored.window;
  const bool by_rate = !config.threshold && config.threshold_method == ThresholdMethod::fdr;
  found.null =
      by_rate ? fit_null(found.scores, prepared.excluded) : null_if_any(found.scores, prepared.excluded);
  if (config.threshold)
    found.threshold = *config.threshold;
  else if (by_rate)
    found.threshold = fdr_threshold(found.scores, *found.null, config.fdr, prepared.excluded);
  else if (config.threshold_method == ThresholdMethod::conformal)
    found.threshold = conformal_threshold(found.scores, held_out, config.fdr, prepared.excluded);
  else
    found.threshold = otsu_threshold(found.scores, prepared.excluded);
  found.mask = anomalous(found.scores, found.threshold);
  found.regions = find_regions(prepared, expectation.spectra, found.scores, found.mask);
  return found;
}

}  // namespace eelsvae
