#include "engine/detect/job.h"

#include <algorithm>

#include "engine/detect/scorer.h"

namespace eelsvae {

DetectionResult run_detection(const SpectrumImageView& prepared, const ExpectationSource& source,
                              const PreprocessConfig& preprocess, const DetectionConfig& config,
                              const NormalSpectra* normal) {
  DetectionResult result;
  result.expectation = source(prepared);
  std::vector<float> normal_scores;
  if (normal) {
    const bool same = normal->image.counts.data() == prepared.counts.data();
    const Expectation other = same ? Expectation{} : source(normal->image);
    Scorer scorer(normal->image, same ? result.expectation : other, normal->preprocess, config);
    normal_scores = sorted_scores(scorer.scores(config.score), normal->pixels);
    result.normal_spectra = std::ssize(normal_scores);
  }
  result.found = detect(prepared, result.expectation, preprocess, config, normal_scores);
  return result;
}

std::vector<float> sorted_scores(std::span<const float> map, std::span<const uint8_t> pixels) {
  std::vector<float> scores;
  for (size_t pixel = 0; pixel < map.size(); ++pixel)
    if (pixels[pixel]) scores.push_back(map[pixel]);
  std::sort(scores.begin(), scores.end());
  return scores;
}

}  // namespace eelsvae
