#include "engine/detect/detection.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "engine/detect/change_fit.h"
#include "engine/detect/detection_state.h"
#include "engine/detect/scorer.h"
#include "engine/detect/thresholds.h"
#include "engine/first_failure.h"
#include "engine/image/excluded.h"
#include "engine/noise/filtered_noise.h"
#include "engine/short_number.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

std::optional<EmpiricalNull> null_if_any(const std::vector<float>& scores, std::span<const uint8_t> excluded,
                                         std::optional<EmpiricalNull::Family> family = {}) {
  try {
    return fit_null(scores, excluded, family);
  } catch (const UserError&) {
    return std::nullopt;  // other thresholds do without it
  }
}

// Another scan's state holds here if normal spectra score as they did there. The bulk of this image's own
// scores is the witness.
void doubt_state(const Detection& found, const DetectionConfig& config, std::span<const uint8_t> excluded,
                 std::vector<std::string>& doubts) {
  constexpr double few = 3, times = 3;
  // Of the same law: another one, which happens to fit as well, has other tails.
  const std::optional<EmpiricalNull> own = null_if_any(found.scores, excluded, found.null->family);
  if (!own || !config.threshold_by(ThresholdMethod::fdr)) return;
  const auto scored = static_cast<double>(
      std::count_if(found.scores.begin(), found.scores.end(), [](float s) { return !std::isnan(s); }));
  const auto anomalous = static_cast<double>(found.anomalous_pixels());
  const double promised = scored * found.null->p_value(found.threshold),
               likely = scored * own->p_value(found.threshold);
  const double own_threshold = fdr_threshold(found.scores, *own, config.fdr, excluded);
  const auto by_own = static_cast<double>(
      std::ranges::count_if(found.scores, [&](float score) { return score > own_threshold; }));
  if (likely > few + times * std::max(promised, config.fdr * anomalous))
    doubts.push_back("normal spectra score higher here than where the state was measured: about " +
                     short_number(std::min(likely, anomalous), 3) + " of the " + short_number(anomalous, 9) +
                     " found are normal by the bulk of this scan, " +
                     short_number(std::max(promised, config.fdr * anomalous), 3) +
                     " were promised; measure the state in a scan like this one");
  else if (by_own > few + times * anomalous)
    doubts.push_back("normal spectra score lower here than where the state was measured: " +
                     short_number(by_own, 9) + " spectra would be found by the bulk of this scan, " +
                     short_number(anomalous, 9) + " are; measure the state in a scan like this one");
}

// A false-discovery rate rests on what is known of normal scores, and on anomalies being rare.
std::vector<std::string> doubts(const Detection& found, const DetectionConfig& config,
                                std::span<const float> normal, std::span<const uint8_t> excluded,
                                const DetectionState* state) {
  constexpr double largest_misfit = 3, largest_share = 0.05;
  constexpr double fewest_found = 20;  // anomalies that a conformal threshold must be able to find
  std::vector<std::string> doubts;
  const auto scored = static_cast<double>(
      std::count_if(found.scores.begin(), found.scores.end(), [](float s) { return !std::isnan(s); }));
  const auto anomalous = static_cast<double>(found.anomalous_pixels());
  const bool by_null = !state && config.threshold_by(ThresholdMethod::fdr);
  if (by_null && found.null->misfit > largest_misfit)
    doubts.push_back(
        "the scores of normal spectra follow none of the known laws (chi^2 per degree of freedom " +
        short_number(found.null->misfit, 3) +
        ", about 1 where one holds): the specimen may have several kinds of normal spectra; a model, or "
        "--baseline pca:auto, may describe them better, and data.exclude leaves regions out");
  // Found or not: the null says how many spectra it has no room for.
  const double beyond_null = by_null ? 1 - found.null->normal_share : 0.0;
  const double share = std::max(anomalous / scored, beyond_null);
  if (share > largest_share)
    doubts.push_back(
        short_number(100 * share, 3) +
        (beyond_null > anomalous / scored
             ? " % of the spectra have scores that normal ones do not have, more than are found: so many"
             : " % of the spectra do not fit: so many") +
        " are a material of their own, or show that too little is "
        "known of the normal ones; a model of this specimen, or --baseline pca:auto, may know more, and "
        "preprocess.crop_y, crop_x and data.exclude leave regions out");
  const auto held_out = std::ssize(normal);
  if (const double needed = scored / (fewest_found * config.fdr);
      config.threshold_by_held_out() && static_cast<double>(held_out) < needed)
    doubts.push_back(std::to_string(held_out) + " spectra were held out of training, and " +
                     short_number(needed, 6) + " are needed to find " + short_number(fewest_found) +
                     " among " + short_number(scored, 9) +
                     " at that rate; hold more out, or use detection.threshold_method=fdr");
  // The image's own bulk is another witness of what normal scores are.
  if (config.threshold_by_held_out() && found.null) {
    const double own = fdr_threshold(found.scores, *found.null, config.fdr, excluded);
    const auto by_bulk = std::ranges::count_if(found.scores, [&](float score) { return score > own; });
    if (2 * anomalous < static_cast<double>(by_bulk))
      doubts.push_back(
          std::to_string(by_bulk) + " spectra would be found by the bulk of this image's scores, " +
          short_number(anomalous) + " are by the " + std::to_string(held_out) +
          " that were held out of training: these are too few, or hold anomalies themselves; hold more out, "
          "train on a scan without anomalies, or use detection.threshold_method=fdr");
  }
  return doubts;
}

// found: its scores and null.
double threshold_of(const Detection& found, const DetectionConfig& config, std::span<const float> held_out,
                    std::span<const uint8_t> excluded) {
  if (config.threshold) return *config.threshold;
  switch (config.threshold_method) {
    case ThresholdMethod::fdr:
      return fdr_threshold(found.scores, *found.null, config.fdr, excluded);
    case ThresholdMethod::conformal:
      return conformal_threshold(found.scores, held_out, config.fdr, excluded);
    case ThresholdMethod::otsu:
      return otsu_threshold(found.scores, excluded);
  }
  throw std::logic_error("internal error: unknown threshold");
}

void explain_regions(Detection& found, const SpectrumImageView& prepared, std::span<const float> expected,
                     const ResidualModel& model, const PreprocessConfig& preprocess, const StopToken& stop) {
  const int64_t explained = std::min(std::ssize(found.regions), most_explained);
  if (explained == 0) return;
  const double noise = noise_of_pixel(prepared, expected, model, found.mask);
  FirstFailure failure;
#pragma omp parallel for schedule(dynamic)
  for (int64_t i = 0; i < explained; ++i)
    failure.guard([&] {
      stop.stop_if_requested();
      Region& region = found.regions[static_cast<size_t>(i)];
      // Filters and pooling find what lies beside an anomaly, too, where little of it is left.
      const float least = std::min(region.highest_score / 2, region.highest_score);
      std::vector<int64_t> core;
      for (const int64_t pixel : region.pixels)
        if (found.scores[static_cast<size_t>(pixel)] >= least) core.push_back(pixel);
      const double share = noise_of_mean(core, prepared.x.size, preprocess.sigma, preprocess.xy_window);
      region.explanation = explain(prepared, expected, core, model, noise * share, found.window);
    });
  failure.rethrow();
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

void check_detection(const SpectrumImageView& prepared, int64_t tile, const DetectionConfig& config) {
  if (config.window) channel_window(prepared.energy, *config.window);
  if (tile == 0 && needs_model(config.score))
    throw UserError("detection.score: the score needs a model, for a baseline has no latent space");
  if (tile == 0 && config.threshold_by_held_out())
    throw UserError("detection.threshold_method=conformal needs a model; a baseline holds no spectra out");
  if (config.threshold_by(ThresholdMethod::fdr))
    check_enough_scores(prepared.pixels() - excluded_pixels(prepared.excluded));
  if (std::min(prepared.y.size, prepared.x.size) < tile)
    throw UserError("the image, " + std::to_string(prepared.y.size) + " x " +
                    std::to_string(prepared.x.size) + " pixels, is smaller than the model's tiles, " +
                    std::to_string(tile) + " x " + std::to_string(tile));
}

void judge(Detection& found, const DetectionConfig& config, std::span<const uint8_t> excluded,
           std::span<const float> held_out, const DetectionState* state) {
  if (state)
    found.null = state->null;
  else
    found.null = config.threshold_by(ThresholdMethod::fdr) ? fit_null(found.scores, excluded)
                                                           : null_if_any(found.scores, excluded);
  found.threshold = threshold_of(found, config, held_out, excluded);
  found.mask = anomalous(found.scores, found.threshold);
  found.doubts = doubts(found, config, held_out, excluded, state);
  if (!state) return;
  for (const std::string& doubt : state->doubts)
    found.doubts.push_back("where the state was measured: " + doubt);
  doubt_state(found, config, excluded, found.doubts);
}

Detection detect_pixels(Scorer& scorer, const SpectrumImageView& prepared, const DetectionConfig& config,
                        std::span<const float> held_out, const DetectionState* state) {
  Detection found;
  found.scores = scorer.scores(config.score);
  // Whatever the score, the strongest residual explains it best.
  found.deviations = scorer.whitened().deviations;
  found.window = scorer.window();
  if (can_be_kept(config.score)) found.measured = scorer.state();
  judge(found, config, prepared.excluded, held_out, state);
  return found;
}

Detection detect_pixels(const SpectrumImageView& prepared, const Expectation& expectation,
                        const PreprocessConfig& preprocess, const DetectionConfig& config) {
  Scorer scorer(prepared, expectation, preprocess, config);
  return detect_pixels(scorer, prepared, config);
}

Detection detect(const SpectrumImageView& prepared, const Expectation& expectation,
                 const PreprocessConfig& preprocess, const DetectionConfig& config,
                 std::span<const float> held_out, const StopToken& stop, const DetectionState* state) {
  Scorer scorer(prepared, expectation, preprocess, config, state ? &state->scores : nullptr);
  Detection found = detect_pixels(scorer, prepared, config, held_out, state);
  found.regions = find_regions(prepared, expectation.spectra, found.scores, found.mask);
  explain_regions(found, prepared, expectation.spectra, scorer.residuals(), preprocess, stop);
  return found;
}

}  // namespace eelsvae
