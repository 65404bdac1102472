#include "engine/noise/filtered_noise.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/engine/prepare/processor_steps.h"

namespace eelsvae {
namespace {

SpectrumImage sized(int64_t height, int64_t width, int64_t channels) {
  SpectrumImage image;
  image.y.size = height;
  image.x.size = width;
  image.energy.size = channels;
  image.counts.resize(static_cast<size_t>(height * width * channels));
  return image;
}

TEST(FilteredNoise, OfAMeanIsKnownByHand) {
  const std::vector<float> factors = filtered_noise(sized(5, 6, 1), 0, 3);
  ASSERT_EQ(factors.size(), 30u);
  // One line of three counts twice: (2/3)^2 + (1/3)^2 instead of 3 (1/3)^2 along that axis.
  const float border = 5.0f / 3;
  for (int64_t y = 0; y < 5; ++y)
    for (int64_t x = 0; x < 6; ++x)
      EXPECT_FLOAT_EQ(factors[static_cast<size_t>(y * 6 + x)],
                      (y % 4 == 0 ? border : 1) * (x % 5 == 0 ? border : 1));
  EXPECT_EQ(filtered_noise(sized(3, 2, 1), 0, 1), std::vector<float>(6, 1.0f)) << "no filter";
}

TEST(FilteredNoise, BesideAnExcludedPixelFewerAreAveraged) {
  SpectrumImage image = sized(7, 7, 1);
  image.excluded.assign(49, 0);
  image.excluded[3 * 7 + 3] = 1;
  const std::vector<float> factors = filtered_noise(image, 0, 3);
  EXPECT_FLOAT_EQ(factors[2 * 7 + 3], 9.0f / 8);
  EXPECT_FLOAT_EQ(factors[1 * 7 + 3], 1);
  EXPECT_EQ(factors[3 * 7 + 3], 1);
}

// Against the filters themselves: the variance of white noise that went through both.
TEST(FilteredNoise, OfTheMeanOfPixelsIsKnownByHand) {
  const std::vector<int64_t> row = {20, 21, 22},
                             apart = {9, 20};  // of lines of ten: 9 is a line's last pixel
  EXPECT_DOUBLE_EQ(noise_of_mean(row, 10, 0, 1), 1 / 3.0) << "no filter";
  // Means over 3 x 3 pixels share two thirds with the next and a third with the next but one.
  EXPECT_NEAR(noise_of_mean(row, 10, 0, 3), (3 + 4 * 2 / 3.0 + 2 / 3.0) / 9, 1e-6);
  EXPECT_NEAR(noise_of_mean(apart, 10, 0, 3), 0.5, 1e-6);
}

TEST(FilteredNoise, IsWhatTheFiltersLeave) {
  SpectrumImage image = sized(9, 12, 40000);
  image.excluded.assign(9 * 12, 0);
  for (size_t pixel : {40u, 41u, 100u}) image.excluded[pixel] = 1;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (float& count : image.counts) count = normal(random);
  constexpr double sigma = 0.6;
  constexpr int64_t window = 3;
  const std::vector<float> factors = filtered_noise(image, sigma, window);
  gaussian_filter(image, sigma);
  spatial_mean(image, window);
  auto variance = [&](int64_t pixel) {
    double squares = 0;
    for (int64_t e = 0; e < image.energy.size; ++e)
      squares +=
          static_cast<double>(image.spectrum(pixel)[e]) * static_cast<double>(image.spectrum(pixel)[e]);
    return squares;
  };
  // The filter along energy is the same everywhere; some pixel shows by how much it reduces the noise.
  const double one = variance(0) / static_cast<double>(factors[0]);
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel) {
    if (image.excluded[static_cast<size_t>(pixel)]) continue;
    // 40,000 channels, neighbours correlated over about two: a standard error of 1 %.
    EXPECT_NEAR(variance(pixel) / one / static_cast<double>(factors[static_cast<size_t>(pixel)]), 1, 0.06)
        << pixel;
  }
}

}  // namespace
}  // namespace eelsvae
