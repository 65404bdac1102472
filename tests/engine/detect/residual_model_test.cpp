#include "engine/detect/residual_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <random>

#include "tests/engine/white_noise.h"

namespace eelsvae {
namespace {

using Sample = NoisySample;

Sample white(int64_t height, int64_t width, int64_t channels, uint32_t seed = 1) {
  return white_noise(height, width, channels, 2, seed);
}

// Orthonormal cosines.
double shape(int64_t k, int64_t e, int64_t channels) {
  return std::sqrt(2.0 / static_cast<double>(channels)) *
         std::cos(std::numbers::pi * static_cast<double>(k) * (static_cast<double>(e) + 0.5) /
                  static_cast<double>(channels));
}

TEST(ResidualModel, WhitensNoiseToStandardNormal) {
  const Sample sample = white(64, 64, 64);
  const ResidualModel model = fit_residual_model(sample.image, sample.expected, 1);
  EXPECT_EQ(model.count(), 0);
  EXPECT_NEAR(model.level, 0.9, 0.15);
  std::vector<float> z(64);
  double sum = 0, squares = 0, fourth = 0;
  for (int64_t pixel = 0; pixel < 64 * 64; ++pixel) {
    model.whiten(pixel, sample.image.spectrum(pixel), sample.expected.data() + pixel * 64, z.data());
    for (float value : z) {
      const auto v = static_cast<double>(value);
      sum += v, squares += v * v, fourth += v * v * v * v;
    }
  }
  const double n = 64 * 64 * 64;
  EXPECT_NEAR(sum / n, 0, 0.01);
  EXPECT_NEAR(squares / n, 1, 0.03);
  EXPECT_NEAR(fourth / n, 3, 0.2);
}

TEST(ResidualModel, FindsTheShapesThatNormalSpectraVaryIn) {
  const int64_t channels = 64;
  Sample sample = white(64, 64, channels);
  std::mt19937 generator(2);
  std::normal_distribution<double> normal;
  // Standard deviations 12 and 6 in counts: 6 and 3 of the noise, strengths 36 and 9.
  for (int64_t pixel = 0; pixel < 64 * 64; ++pixel) {
    const double a = 12 * normal(generator), b = 6 * normal(generator);
    for (int64_t e = 0; e < channels; ++e)
      sample.image.spectrum(pixel)[e] +=
          static_cast<float>(a * shape(3, e, channels) + b * shape(7, e, channels));
  }
  const ResidualModel model = fit_residual_model(sample.image, sample.expected, 1);
  ASSERT_EQ(model.count(), 2);
  // The median of differences takes what varies from pixel to pixel for noise, here (36 + 9) / 64 of it.
  const double inflated = 1 + 45.0 / 64;
  for (auto [k, planted, strength] : {std::tuple{0, 3, 36.0}, {1, 7, 9.0}}) {
    double dot = 0, norm = 0;
    for (int64_t e = 0; e < channels; ++e) {
      const auto u = static_cast<double>(model.component(k)[e]);
      dot += u * shape(planted, e, channels);
      norm += u * u;
    }
    EXPECT_NEAR(norm, 1, 1e-4);
    EXPECT_GT(std::abs(dot), 0.97);
    EXPECT_NEAR(model.strengths[static_cast<size_t>(k)], strength, 0.2 * strength);
  }
  EXPECT_NEAR(model.level, 0.9 / inflated, 0.15);
  EXPECT_EQ(model.components.size(), static_cast<size_t>(2 * channels));
}

// Where neighbours correlate by 0.3, broad shapes have 1.6 times the variance of white noise.
TEST(ResidualModel, WhitensNoiseAlongEnergy) {
  const int64_t channels = 96;
  const Sample sample = correlated_noise(64, 64, channels, 2, 0.3);
  const ResidualModel model = fit_residual_model(sample.image, sample.expected, 1);
  EXPECT_EQ(model.count(), 0);
  std::vector<float> z(channels);
  std::vector<double> products(4);
  double broad = 0;
  for (int64_t pixel = 0; pixel < 64 * 64; ++pixel) {
    model.whiten(pixel, sample.image.spectrum(pixel), sample.expected.data() + pixel * channels, z.data());
    for (size_t lag = 0; lag < 4; ++lag)
      for (size_t e = 0; e + lag < channels; ++e)
        products[lag] += static_cast<double>(z[e]) * static_cast<double>(z[e + lag]) / (64 * 64 * 96);
    double sum = 0;
    for (int64_t e = 0; e < channels; ++e)
      sum += shape(5, e, channels) * static_cast<double>(z[static_cast<size_t>(e)]);
    broad += sum * sum / (64 * 64);
  }
  EXPECT_NEAR(products[0], 1, 0.03);
  for (size_t lag = 1; lag < 4; ++lag)
    EXPECT_NEAR(products[lag], 0, 0.02) << lag << ", 0.3 before; measured to 0.01";
  EXPECT_NEAR(broad, 1, 0.1) << "its standard deviation is 0.02, and the noise's size is known to 3 %";
}

TEST(ResidualModel, WhiteNoiseIsLeftAsItIs) {
  const Sample sample = white(64, 64, 64);
  const ResidualModel model = fit_residual_model(sample.image, sample.expected, 1);
  EXPECT_FALSE(model.whitening.changes_spectra());
}

TEST(ResidualModel, RareAnomaliesDoNotBecomeNormal) {
  Sample sample = white(64, 64, 64);
  for (int64_t pixel = 0; pixel < 64 * 64; pixel += 100)  // 1 %
    for (int64_t e = 30; e < 34; ++e) sample.image.spectrum(pixel)[e] += 60;
  const ResidualModel model = fit_residual_model(sample.image, sample.expected, 1);
  EXPECT_EQ(model.count(), 0);
  for (float mean : model.mean) EXPECT_NEAR(mean, 0, 0.1);
}

TEST(ResidualModel, KnowsWhatTheExpectationAlwaysMisses) {
  Sample sample = white(64, 64, 64);
  for (int64_t pixel = 0; pixel < 64 * 64; ++pixel) sample.image.spectrum(pixel)[10] += 4;
  const ResidualModel model = fit_residual_model(sample.image, sample.expected, 1);
  EXPECT_NEAR(model.mean[10], 2, 0.15) << "in standard deviations";
  EXPECT_EQ(model.count(), 0);
}

// So few pixels that every one would be a component of its own.
TEST(ResidualModel, SmallImagesAndShortSpectraAreNoMistake) {
  for (auto [side, channels] : {std::pair<int64_t, int64_t>{4, 256}, {24, 16}, {24, 3}, {3, 16}}) {
    const Sample sample = white(side, side, channels);
    const ResidualModel model = fit_residual_model(sample.image, sample.expected, 1);
    EXPECT_LE(model.count(), std::min(channels / 4, side * side / 8)) << side << " " << channels;
    EXPECT_GT(model.level, 0.05) << side << " " << channels;
    for (double strength : model.strengths) EXPECT_LT(strength, 20);
    for (float u : model.components) EXPECT_TRUE(std::isfinite(u));
  }
}

}  // namespace
}  // namespace eelsvae
