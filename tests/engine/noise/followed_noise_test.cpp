#include "engine/noise/followed_noise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace eelsvae {
namespace {

// A peak whose height changes over the specimen, with noise.
struct Specimen {
  SpectrumImage observed;
  std::vector<float> truth;

  explicit Specimen(double noise) {
    observed.y.size = 20, observed.x.size = 30, observed.energy.size = 64;
    std::mt19937 random(3);
    std::normal_distribution<double> normal;
    for (int64_t y = 0; y < 20; ++y)
      for (int64_t x = 0; x < 30; ++x)
        for (int e = 0; e < 64; ++e) {
          const double height = 1 + std::sin(0.1 * static_cast<double>(y + x));
          truth.push_back(static_cast<float>(100 * height * std::exp(-std::pow((e - 30) / 6.0, 2))));
          observed.counts.push_back(truth.back() + static_cast<float>(noise * normal(random)));
        }
  }
};

TEST(FollowedNoise, IsTheShareOfItThatIsExpected) {
  const Specimen specimen(5);
  for (const double share : {0.0, 0.25, 1.0}) {
    std::vector<float> expected;
    for (size_t k = 0; k < specimen.truth.size(); ++k)
      expected.push_back(
          static_cast<float>((1 - share) * specimen.truth[k] + share * specimen.observed.counts[k]));
    // 500 spectra of 60 second differences: 1 % of the noise's variance.
    EXPECT_NEAR(followed_noise(specimen.observed, expected, 1), share, 0.02) << share;
  }
}

TEST(FollowedNoise, WhatIsExcludedDoesNotCount) {
  Specimen specimen(5);
  std::vector<float> expected = specimen.truth;
  specimen.observed.excluded.assign(600, 0);
  for (size_t pixel = 0; pixel < 300; ++pixel) {
    specimen.observed.excluded[pixel] = 1;
    for (size_t e = 0; e < 64; ++e) expected[pixel * 64 + e] = specimen.observed.counts[pixel * 64 + e];
  }
  EXPECT_NEAR(followed_noise(specimen.observed, expected, 1), 0, 0.02);
  specimen.observed.excluded.assign(600, 1);
  EXPECT_EQ(followed_noise(specimen.observed, expected, 1), 0);
}

// The mean of five channels knows nothing of the finest noise and most of the coarser.
TEST(FollowedNoise, SmoothedAlongEnergyItIsNoiseStill) {
  const Specimen specimen(5);
  std::vector<float> expected = specimen.truth;
  for (size_t k = 2; k + 2 < expected.size(); ++k) {
    float sum = 0;
    for (size_t i = k - 2; i <= k + 2; ++i) sum += specimen.observed.counts[i];
    expected[k] = sum / 5;
  }
  EXPECT_LT(followed_noise(specimen.observed, expected, 1), 0.2);
  EXPECT_GT(followed_noise(specimen.observed, expected, 8), 0.2);
  EXPECT_LT(followed_noise(specimen.observed, specimen.truth, 8), 0.05);
}

TEST(FollowedNoise, OfALineScan) {
  Specimen specimen(5);
  specimen.observed.x.size = 600;
  specimen.observed.y.size = 1;
  const std::vector<float> copy(specimen.observed.counts.begin(), specimen.observed.counts.end());
  EXPECT_NEAR(followed_noise(specimen.observed, copy, 1), 1, 1e-6);
  EXPECT_NEAR(followed_noise(specimen.observed, specimen.truth, 1), 0, 0.05);
  std::swap(specimen.observed.x.size, specimen.observed.y.size);
  EXPECT_NEAR(followed_noise(specimen.observed, copy, 1), 1, 1e-6);
}

TEST(RelativeDistance, IsAboutOneUnlessTheExpectationIsOfSomethingElse) {
  const Specimen specimen(5);
  EXPECT_NEAR(relative_distance(specimen.observed, specimen.truth, 1), 1, 0.2);
  std::vector<float> other = specimen.truth;
  for (float& value : other) value *= 10;
  EXPECT_GT(relative_distance(specimen.observed, other, 1), 10);
  EXPECT_GT(relative_distance(specimen.observed, std::vector<float>(other.size(), 5), 1), 2);
}

}  // namespace
}  // namespace eelsvae
