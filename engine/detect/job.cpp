#include "engine/detect/job.h"

#include <algorithm>
#include <utility>

#include "engine/detect/scorer.h"

namespace eelsvae {

DetectionResult run_detection(const SpectrumImageView& prepared, const ExpectationSource& source,
                              const SourceDescription& description, const PreprocessConfig& preprocess,
                              const DetectionConfig& config, std::span<const float> held_out,
                              const StopToken& stop) {
  DetectionResult result;
  result.expectation = source(prepared);
  stop.stop_if_requested();
  result.found = detect(prepared, result.expectation, preprocess, config, held_out);
  stop.stop_if_requested();
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
