#include "engine/detect/learned_score.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "engine/detect/detection.h"
#include "engine/detect/metrics.h"
#include "engine/detect/scorer.h"
#include "engine/prepare/preprocess.h"
#include "engine/score_head/shipped.h"
#include "engine/specimen/simulate.h"
#include "engine/thread_count.h"

namespace eelsvae {
namespace {

struct Film {
  PreprocessConfig preprocess;
  SimulatedImage simulated;
  SpectrumImage prepared;
  Expectation mean;
};

Film film(Preset preset, const std::vector<Defect>& defects, uint64_t seed) {
  SimulationSettings s;
  s.preset = preset;
  s.height = s.width = 48;
  s.channels = 320;
  s.energy_offset_ev = 440;
  s.dispersion_ev = 0.95;
  s.exposure = 4;
  s.seed = seed;
  s.defects = defects;
  Film result;
  result.simulated = simulate(defects.empty() ? without_defects(s) : s);
  result.preprocess.sigma = 0;
  result.preprocess.xy_window = 1;
  result.preprocess.percentiles = {0.01, 99.99};
  SpectrumImage image = result.simulated.image;
  image.excluded.assign(static_cast<size_t>(image.pixels()), 0);
  image.excluded[static_cast<size_t>(result.simulated.hot_pixel)] = 1;
  result.prepared = prepare(std::move(image), result.preprocess, std::nullopt).image;
  result.mean = expect_from(Baseline(result.prepared, {}, parse_baseline("pca:auto")), result.prepared);
  return result;
}

double average_precision(const Film& film, Score score) {
  Scorer scorer(film.prepared, film.mean, film.preprocess, {});
  return detection_metrics(scorer.scores(score), film.simulated.truth, 0, film.prepared.excluded)
      .average_precision.value();
}

// Changes of which a maximum over filters sees little.
TEST(LearnedScore, FindsWhatTheMaximumOverFiltersDoesNot) {
  for (const char* defect : {"broadening:0.6:disc:1.5@8", "foreign:0.3@25"}) {
    const Film changed = film(Preset::interface, {parse_defect(defect)}, 601);
    const double learned = average_precision(changed, Score::learned),
                 whitened = average_precision(changed, Score::whitened);
    EXPECT_LT(1 - learned, 0.7 * (1 - whitened)) << defect << ": " << learned << ", " << whitened;
  }
}

TEST(LearnedScore, KnowsItsLawWhereNothingIsWrong) {
  DetectionConfig config;
  config.score = Score::learned;
  for (const Preset preset : {Preset::bfo, Preset::interface, Preset::gradient}) {
    const Film normal = film(preset, {}, 602);
    const Detection found = detect(normal.prepared, normal.mean, normal.preprocess, config);
    EXPECT_LE(found.anomalous_pixels(), 2) << preset_name(preset);
    EXPECT_TRUE(found.trusted()) << preset_name(preset);
    EXPECT_LT(found.null->misfit, 3) << preset_name(preset);
  }
}

TEST(LearnedScore, LeavesExcludedPixelsOutAndKeepsItsBitsOnAnyNumberOfThreads) {
  const Film normal = film(Preset::bfo, {}, 603);
  const auto scores = [&] {
    Scorer scorer(normal.prepared, normal.mean, normal.preprocess, {});
    return HeadScorer(normal.prepared.energy, {10, 300}, shipped_score_head())
        .scores(normal.prepared, normal.mean.spectra, scorer.variation());
  };
  const std::vector<float> two = scores();
  const ThreadCount one(1);
  const std::vector<float> alone = scores();
  EXPECT_EQ(std::memcmp(two.data(), alone.data(), two.size() * sizeof(float)), 0);
  for (size_t pixel = 0; pixel < two.size(); ++pixel)
    EXPECT_EQ(std::isnan(two[pixel]), normal.prepared.excluded[pixel] != 0);
}

}  // namespace
}  // namespace eelsvae
