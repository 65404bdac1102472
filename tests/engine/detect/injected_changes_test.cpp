#include "engine/detect/injected_changes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "engine/detect/baselines.h"
#include "engine/detect/comparison.h"
#include "engine/specimen/simulate.h"

namespace eelsvae {
namespace {

// Noise as docs/specimens.md has it: variance 2.7 counts per count + 81 counts^2.
SpectrumImage film() {
  SimulationSettings settings;
  settings.height = settings.width = 70;
  settings.channels = 128;
  settings.energy_offset_ev = 690;
  settings.exposure = 4;
  settings.seed = 5;
  return simulate(without_defects(settings)).image;
}

PreprocessConfig unfiltered() {
  PreprocessConfig preprocess;
  preprocess.sigma = 0;
  preprocess.xy_window = 1;
  return preprocess;
}

TEST(InjectedChanges, AreAsLargeAsTheySayAndNowhereElse) {
  SpectrumImage image = film();
  image.excluded.assign(70 * 70, 0);
  std::fill_n(image.excluded.begin(), 35 * 70, uint8_t{1});
  const auto changes = inject_changes(image, 64, unfiltered(), 1);
  ASSERT_TRUE(changes);
  ASSERT_EQ(changes->truth.size(), 64u * 64u);
  EXPECT_EQ(std::ranges::count(changes->truth, 1), 41);  // a fiftieth of 32 rows of 64
  for (int64_t pixel = 0; pixel < 64 * 64; ++pixel) {
    const int64_t before = (pixel / 64 + 3) * 70 + pixel % 64 + 3;
    double square = 0;
    for (int64_t e = 0; e < 128; ++e) {
      const auto was = static_cast<double>(image.spectrum(before)[e]);
      const double change = static_cast<double>(changes->image.spectrum(pixel)[e]) - was;
      square += change * change / (2.7 * was + 81);
    }
    if (changes->truth[static_cast<size_t>(pixel)]) {
      EXPECT_GE(pixel, 32 * 64) << "an excluded pixel";
      // The noise is measured, not known.
      EXPECT_GT(std::sqrt(square), 5 * 0.85);
      EXPECT_LT(std::sqrt(square), 8 * 1.15);
    } else {
      EXPECT_EQ(square, 0) << pixel;
    }
  }
  EXPECT_EQ(inject_changes(image, 64, unfiltered(), 1)->image.counts, changes->image.counts);
  EXPECT_NE(inject_changes(image, 64, unfiltered(), 2)->image.counts, changes->image.counts);
  EXPECT_FALSE(inject_changes(image, 20, unfiltered(), 1)) << "200 spectra are too few";
}

// Whoever expects what is there finds more than who guesses; and it is said.
TEST(InjectedChanges, TellWhoFindsMore) {
  const SpectrumImage image = film();
  const std::function<Expectation(const SpectrumImageView&)> bad = [](const SpectrumImageView& of) {
    Expectation expected = expect_from(Baseline(of, {}, parse_baseline("mean")), of);
    uint32_t state = 1;
    for (float& counts : expected.spectra) {
      state = state * 1664525 + 1013904223;
      counts *= 0.7f + 0.6f * static_cast<float>(state >> 8) / static_cast<float>(1 << 24);
    }
    return expected;
  };
  DetectionConfig config;
  const auto finds = compare_finds(image, 0, bad, unfiltered(), config);
  ASSERT_TRUE(finds && finds->pca);
  EXPECT_GT(finds->mean, 0.3);
  EXPECT_GT(*finds->pca, 0.3);
  EXPECT_LT(finds->model, finds->mean - 0.1);
  Comparison comparison;
  comparison.mean = 1.3;
  comparison.model = 1.1;
  EXPECT_EQ(remark_on(comparison), "");
  comparison.finds = finds;
  EXPECT_EQ(remark_on(comparison).find("Less is found by the model"), 0u);
  comparison.model = 1.4;
  EXPECT_EQ(remark_on(comparison).find("The model describes these spectra no better"), 0u);
}

}  // namespace
}  // namespace eelsvae
