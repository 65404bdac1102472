#include "engine/detect/amounts_score.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/detect/detection.h"
#include "engine/detect/metrics.h"
#include "engine/detect/scorer.h"
#include "engine/prepare/preprocess.h"
#include "engine/specimen/simulate.h"
#include "kernels/error.h"
#include "kernels/philox.h"

namespace eelsvae {
namespace {

PreprocessConfig without_filters() {
  PreprocessConfig config;
  config.sigma = 0;
  config.xy_window = 1;
  return config;
}

struct Lattice {
  SimulatedImage simulated;
  Expectation expectation;
  std::vector<uint8_t> left_out;
};

// With antisites and vacancies, and expected as a good model expects it: the whole lattice, with smooth
// errors of 5 % in brightness and in the amount of Fe.
Lattice lattice(uint64_t seed) {
  constexpr int64_t side = 80;
  SimulationSettings s;
  s.preset = Preset::lattice;
  s.height = s.width = side;
  s.channels = 96;
  s.energy_offset_ev = 685;
  s.dispersion_ev = 0.5;
  s.exposure = 4;
  s.seed = seed;
  s.defects = {parse_defect("antisite:0.8@4"), parse_defect("vacancy:0.8@4")};
  Lattice result;
  result.simulated = simulate(s);
  result.left_out = result.simulated.faint;
  result.left_out[static_cast<size_t>(result.simulated.hot_pixel)] = 1;
  s = without_defects(s);
  s.noise = false;
  const SpectrumImage whole = simulate(s).image;
  std::vector<float> noise(side * side);
  for (size_t i = 0; i < noise.size(); ++i) {
    const Philox4 r = philox(seed, RandomStream::simulation, 1000, i);
    noise[i] = normal_pair(r.v[0], r.v[1]).first;
  }
  const auto smooth = [&](int64_t y, int64_t x, int64_t shift) {
    float sum = 0;
    for (int64_t v = -2; v <= 2; ++v)
      for (int64_t u = -2; u <= 2; ++u)
        sum += noise[static_cast<size_t>((y + v + side + shift) % side * side + (x + u + side) % side)];
    return sum / 5;  // N(0, 1)
  };
  for (int64_t y = 0; y < side; ++y)
    for (int64_t x = 0; x < side; ++x) {
      const float* spectrum = whole.spectrum(y * side + x);
      const float brighter = 1 + 0.05f * smooth(y, x, 0), more_iron = 1 + 0.05f * smooth(y, x, 40);
      for (int64_t e = 0; e < s.channels; ++e)
        result.expectation.spectra.push_back(spectrum[e] * brighter * (e >= 55 ? more_iron : 1));
    }
  result.expectation.foretells_totals = true;
  return result;
}

TEST(AmountScores, FindAtomsInTheWrongPlaceThatNoChangeOfShapeShows) {
  for (uint64_t seed : {1, 2}) {
    const Lattice sample = lattice(seed);
    const auto found = [&](Score score) {
      DetectionConfig config;
      config.score = score;
      const Detection detection =
          detect(sample.simulated.image, sample.expectation, without_filters(), config);
      return detection_metrics(detection.scores, sample.simulated.truth, detection.threshold,
                               sample.left_out);
    };
    const DetectionMetrics amounts = found(Score::amounts), joint = found(Score::joint),
                           whitened = found(Score::whitened);
    EXPECT_GT(*amounts.average_precision, 0.9);
    EXPECT_GT(*joint.average_precision, 0.85);
    EXPECT_GT(joint.f1, 0.8);
    EXPECT_GT(joint.precision, 0.8);  // 5 % are asked for
    EXPECT_LT(*whitened.average_precision, 0.6);
  }
}

TEST(AmountScores, MeasureTheProbe) {
  const Lattice sample = lattice(1);
  const PreprocessConfig preprocess = without_filters();
  const DetectionConfig config;
  Scorer scorer(sample.simulated.image, sample.expectation, preprocess, config);
  const AmountScores amounts = scorer.amounts();
  // Errors are alike in squares of 5 x 5 pixels, which correlate as 1 - d / 5: 0.8 and 0.6 at 1 and 2 pixels.
  EXPECT_NEAR(amounts.probe, std::sqrt(0.75 / std::log(0.8 / 0.6)), 0.4);
  EXPECT_FALSE(amounts.of_probe.empty());
}

// The mean spectrum foretells no amounts: what they are says nothing, and the joint score is the whitened
// one.
TEST(AmountScores, SayNothingWhereNothingForetellsThem) {
  for (Preset preset : {Preset::interface, Preset::drift, Preset::lattice}) {
    SimulationSettings s;
    s.preset = preset;
    s.height = s.width = 48;
    s.channels = 96;
    s.energy_offset_ev = 685;
    s.dispersion_ev = 0.5;
    s.exposure = 4;
    const SpectrumImage image = simulate(s).image;
    const Expectation mean = expect_from(Baseline(image, {}, parse_baseline("mean")), image);
    const PreprocessConfig preprocess = without_filters();
    const DetectionConfig config;
    Scorer scorer(image, mean, preprocess, config);
    EXPECT_TRUE(scorer.amounts().of_pixels.empty()) << preset_name(preset);
    EXPECT_EQ(scorer.scores(Score::joint), scorer.scores(Score::whitened));
    EXPECT_THROW(scorer.scores(Score::amounts), UserError);
    // PCA knows amounts, but from the very spectrum.
    const Expectation pca = expect_from(Baseline(image, {}, parse_baseline("pca:2")), image);
    Scorer of_pca(image, pca, preprocess, config);
    EXPECT_EQ(of_pca.scores(Score::joint), of_pca.scores(Score::whitened));
  }
}

}  // namespace
}  // namespace eelsvae
