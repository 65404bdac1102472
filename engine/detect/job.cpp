#include "engine/detect/job.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "engine/detect/scorer.h"
#include "engine/noise/filtered_noise.h"
#include "engine/noise/followed_noise.h"
#include "engine/short_number.h"

namespace eelsvae {
namespace {

// Whether what is expected knows the noise, or is not of these spectra at all. What was not made here may
// have been smoothed along energy, and be in other units.
std::vector<std::string> doubts_of(const SpectrumImageView& prepared, const Expectation& expectation,
                                   const SourceDescription& description, const PreprocessConfig& preprocess) {
  constexpr double largest_distance = 2;
  constexpr int64_t widest = 8;  // channels
  const bool from_elsewhere = description.kind == SourceDescription::Kind::other;
  const double largest_share = from_elsewhere ? 0.1 : 0.2;
  std::vector<std::string> doubts;
  if (const double share = followed_noise(prepared, expectation.spectra, from_elsewhere ? widest : 1);
      share > largest_share)
    doubts.push_back(
        "what is expected holds " + short_number(100 * share, 2) +
        " % of the noise of the spectra that it is compared with, and defects as it does noise; fewer "
        "components, a stronger denoiser, or one that does not see the spectrum it tells, leave them out");
  if (!from_elsewhere) return doubts;
  const int64_t lag = noise_lag(preprocess.sigma, preprocess.xy_window);
  if (const double distance = relative_distance(prepared, expectation.spectra, lag);
      distance > largest_distance)
    doubts.push_back(
        "what is expected lies " + short_number(std::sqrt(distance), 3) +
        " times as far from the spectra as these differ by their noise; it may be in other units, "
        "or in another order of pixels or energies");
  return doubts;
}

}  // namespace

DetectionResult run_detection(const SpectrumImageView& prepared, const ExpectationSource& source,
                              const SourceDescription& description, const PreprocessConfig& preprocess,
                              const DetectionConfig& config, std::span<const float> held_out,
                              const StopToken& stop, const DetectionState* state) {
  DetectionResult result;
  result.expectation = source(prepared);
  stop.stop_if_requested();
  result.found = detect(prepared, result.expectation, preprocess, config, held_out, stop, state);
  stop.stop_if_requested();
  for (const std::string& doubt : doubts_of(prepared, result.expectation, description, preprocess))
    result.found.doubts.push_back(doubt);
  result.comparison = compare(prepared, description, source, preprocess);
  if (result.comparison)
    for (const std::string& doubt : doubts_of(*result.comparison, description, config))
      result.found.doubts.push_back(doubt);
  stop.stop_if_requested();
  return result;
}

std::vector<std::vector<float>> score_maps(const SpectrumImageView& prepared, const Expectation& expectation,
                                           const PreprocessConfig& preprocess, const DetectionConfig& config,
                                           std::span<const Score> scores, const StopToken& stop) {
  Scorer scorer(prepared, expectation, preprocess, config);
  std::vector<std::vector<float>> maps;
  for (const Score score : scores) {
    stop.stop_if_requested();
    maps.push_back(scorer.scores(score));
  }
  return maps;
}

std::vector<std::vector<float>> normal_scores(const NormalSpectra& normal, const Expectation& expectation,
                                              const DetectionConfig& config, std::span<const Score> scores,
                                              const StopToken& stop) {
  std::vector<std::vector<float>> sorted;
  for (const std::vector<float>& map :
       score_maps(normal.image, expectation, normal.preprocess, config, scores, stop)) {
    std::vector<float> of_score;
    for (size_t pixel = 0; pixel < map.size(); ++pixel)
      if (normal.pixels[pixel]) of_score.push_back(map[pixel]);
    std::sort(of_score.begin(), of_score.end());
    sorted.push_back(std::move(of_score));
  }
  return sorted;
}

}  // namespace eelsvae
