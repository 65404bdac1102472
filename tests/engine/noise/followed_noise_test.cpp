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
    EXPECT_NEAR(followed_noise(specimen.observed, expected), share, 0.02) << share;
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
  EXPECT_NEAR(followed_noise(specimen.observed, expected), 0, 0.02);
  specimen.observed.excluded.assign(600, 1);
  EXPECT_EQ(followed_noise(specimen.observed, expected), 0);
}

}  // namespace
}  // namespace eelsvae
