#include "engine/scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "kernels/error.h"

namespace eelsvae {
namespace {

SpectrumImage image_of(std::vector<std::vector<float>> spectra) {
  SpectrumImage image;
  image.y.size = 1;
  image.x.size = static_cast<int64_t>(spectra.size());
  image.energy = {"Energy loss", "eV", 420, 0.3, static_cast<int64_t>(spectra[0].size())};
  for (const auto& spectrum : spectra)
    image.counts.insert(image.counts.end(), spectrum.begin(), spectrum.end());
  return image;
}

TEST(PearsonScores, AreOneMinusTheCorrelationInTheWindow) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(30, 5);
  const int64_t channels = 40, first = 7, last = 31;
  std::vector<std::vector<float>> spectra(9, std::vector<float>(channels));
  for (auto& spectrum : spectra)
    for (float& count : spectrum) count = normal(generator);
  SpectrumImage image = image_of(spectra);
  std::vector<float> reconstruction(image.counts.begin(), image.counts.end());
  for (float& value : reconstruction) value += normal(generator);
  std::vector<float> scores = pearson_scores(image, reconstruction, {first, last});
  ASSERT_EQ(scores.size(), 9u);
  for (int64_t pixel = 0; pixel < 9; ++pixel) {
    // n sum xy - sum x sum y and so on, another form of the same formula.
    long double n = last - first, a = 0, b = 0, aa = 0, bb = 0, ab = 0;
    for (int64_t e = first; e < last; ++e) {
      long double x = image.spectrum(pixel)[e], y = reconstruction[static_cast<size_t>(pixel * channels + e)];
      a += x, b += y, aa += x * x, bb += y * y, ab += x * y;
    }
    long double r = (n * ab - a * b) / std::sqrt((n * aa - a * a) * (n * bb - b * b));
    EXPECT_NEAR(scores[static_cast<size_t>(pixel)], static_cast<double>(1 - r), 1e-6);
  }
}

TEST(PearsonScores, IgnoreScaleAndOffsetButNotSign) {
  SpectrumImage image = image_of({{1, 4, 2, 8, 5, 7}, {1, 4, 2, 8, 5, 7}});
  std::vector<float> reconstruction;
  for (int64_t e = 0; e < 6; ++e)
    reconstruction.push_back(1000 + 0.5f * image.counts[static_cast<size_t>(e)]);
  for (int64_t e = 0; e < 6; ++e) reconstruction.push_back(-3 * image.counts[static_cast<size_t>(e)]);
  std::vector<float> scores = pearson_scores(image, reconstruction, {0, 6});
  EXPECT_NEAR(scores[0], 0, 1e-6);
  EXPECT_NEAR(scores[1], 2, 1e-6);
}

TEST(PearsonScores, AreOneForSpectraWithoutStructure) {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  SpectrumImage image = image_of({{0.1f, 0.1f, 0.1f, 0.1f, 0.1f},
                                  {0, 0, 0, 0, 0},
                                  {1, 2, 3, 4, 9},
                                  {1, nan, 3, 4, 9},
                                  {1, 2, 3, infinity, 9},
                                  {3e38f, -3e38f, 3e38f, 1, 0}});
  std::vector<float> reconstruction = {1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 7,     7,      7,     7, 7,
                                       1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 3e38f, -3e38f, 3e38f, 1, 0};
  std::vector<float> scores = pearson_scores(image, reconstruction, {0, 5});
  for (size_t pixel = 0; pixel < 5; ++pixel) EXPECT_EQ(scores[pixel], 1.0f) << pixel;
  EXPECT_NEAR(scores[5], 0, 1e-6);
}

TEST(ChannelWindow, IsThePublishedOne) {
  const Axis energy{"Energy loss", "eV", 423.3, 0.3, 1312};
  EXPECT_EQ(channel_window(energy, {693.3, 730.5}), (ChannelWindow{900, 1025}));
  EXPECT_EQ(channel_window(energy, {423.3, 816.6}), (ChannelWindow{0, 1312}));
  // Half a channel beyond the centre of the last one is still in it.
  EXPECT_EQ(channel_window(energy, {423.2, 816.7}), (ChannelWindow{0, 1312}));
}

TEST(ChannelWindow, RefusesWhatIsNotOnTheAxis) {
  const Axis energy{"Energy loss", "eV", 423.3, 0.3, 1312};
  for (std::array<double, 2> range :
       {std::array<double, 2>{423.1, 500}, {700, 817}, {100, 200}, {900, 950}, {-1e300, 1e300}}) {
    try {
      channel_window(energy, range);
      FAIL() << range[0];
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find("423.3 to 816.6 eV"), std::string::npos) << error.what();
    }
  }
  EXPECT_THROW(channel_window(energy, {500, 500.5}), UserError);
  EXPECT_THROW(channel_window(energy, {600, 500}), UserError);
  EXPECT_THROW(channel_window(energy, {std::nan(""), 500}), UserError);
}

}  // namespace
}  // namespace eelsvae
