#include "engine/detect/scores.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
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

// Noise, mean and spectra such that every z is a number one can see: variance = factors * (floor + gain *
// expected), and no less than factors * floor where less than nothing is expected.
TEST(DevianceScores, AreTheMeanOfSquaredStandardDeviations) {
  ResidualModel model;
  model.noise = {4, 0.5, {1, 1, 4, 1, 1}, {1, 1, 4}};
  model.mean = {0, 0.5, 0, -1, 0};
  const std::vector<float> expected = {8, 10, 0, -4, 8, 8, 10, 0, -4, 8, 8, 10, 0, -4, 8};
  const SpectrumImage image = image_of({{500, 13, 6, 0, -700}, {8, 10, 0, -4, 8}, {500, 13, 6, 0, -700}});
  const std::vector<float> scores = deviance_scores(image, expected, model, {1, 4});
  ASSERT_EQ(scores.size(), 3u);
  // (13 - 10) / 3 - 0.5, (6 - 0) / 4 and (0 + 4) / 2 + 1; what lies outside the window is far off.
  EXPECT_FLOAT_EQ(scores[0], (0.25f + 2.25f + 9) / 3);
  EXPECT_FLOAT_EQ(scores[1], (0.25f + 0 + 1) / 3) << "only what all normal spectra depart by is missing";
  EXPECT_FLOAT_EQ(scores[2], (0 + 0.5625f + 4) / 3) << "the first one in a pixel of twice the noise";
}

// With a smoothing of a third of a channel a local line sees one neighbour on each side, with the weight k =
// exp(-4.5): at an end it passes through both of its channels, between them it leaves -k / (1 + 2k) of the
// second difference. Of these, (0, -2, 1, 0, 0) and (0, 1, -2, 1, 0), the correlation is -4 / sqrt(4.8 * 6).
TEST(PearsonBackgroundScores, OfFiveChannelsAreTheCorrelationOfSecondDifferences) {
  const SpectrumImage image = image_of({{-1e6f, 0, 1, 0, 0, 0, 3e5f}});
  const std::vector<float> expected = {7e5f, 0, 0, 1, 0, 0, -2e6f};
  const std::vector<float> scores = pearson_background_scores(image, expected, {1, 6}, 1.0 / 3);
  EXPECT_NEAR(scores[0], 1 + std::sqrt(5.0) / 3, 1e-6) << "what lies outside the window does not count";
}

// The residual of a weighted line at every channel, by the means and moments about them.
std::vector<double> without_background(const float* spectrum, int64_t channels, double smoothing) {
  const auto reach = static_cast<int64_t>(std::ceil(3 * smoothing));
  std::vector<double> residual;
  for (int64_t e = 0; e < channels; ++e) {
    std::vector<std::array<double, 3>> points;  // weight, channel, counts
    double weight = 0, x = 0, y = 0, xx = 0, xy = 0;
    for (int64_t i = std::max<int64_t>(0, e - reach); i < std::min(channels, e + reach + 1); ++i) {
      const double away = static_cast<double>(i - e) / smoothing;
      points.push_back(
          {std::exp(-away * away / 2), static_cast<double>(i), static_cast<double>(spectrum[i])});
      weight += points.back()[0];
    }
    for (const auto& [w, channel, counts] : points) {
      x += w * channel / weight;
      y += w * counts / weight;
    }
    for (const auto& [w, channel, counts] : points) {
      xx += w * (channel - x) * (channel - x);
      xy += w * (channel - x) * (counts - y);
    }
    residual.push_back(static_cast<double>(spectrum[e]) - y - xy / xx * (static_cast<double>(e) - x));
  }
  return residual;
}

TEST(PearsonBackgroundScores, AreTheCorrelationOfWhatLocalLinesLeave) {
  std::mt19937 generator(4);
  std::normal_distribution<float> normal(30, 5);
  const int64_t channels = 50, first = 6, last = 47;
  std::vector<std::vector<float>> spectra(7, std::vector<float>(channels));
  for (auto& spectrum : spectra)
    for (float& count : spectrum) count = normal(generator);
  const SpectrumImage image = image_of(spectra);
  std::vector<float> expected(image.counts.begin(), image.counts.end());
  for (float& value : expected) value += normal(generator);
  for (double smoothing : {0.8, 2.7, 20.0}) {
    const std::vector<float> scores = pearson_background_scores(image, expected, {first, last}, smoothing);
    for (int64_t pixel = 0; pixel < 7; ++pixel) {
      const auto a = without_background(image.spectrum(pixel) + first, last - first, smoothing);
      const auto b = without_background(expected.data() + pixel * channels + first, last - first, smoothing);
      double n = 0, sa = 0, sb = 0, aa = 0, bb = 0, ab = 0;
      for (size_t e = 0; e < a.size(); ++e)
        n += 1, sa += a[e], sb += b[e], aa += a[e] * a[e], bb += b[e] * b[e], ab += a[e] * b[e];
      const double r = (n * ab - sa * sb) / std::sqrt((n * aa - sa * sa) * (n * bb - sb * sb));
      // Floats of 30 with a spread of 5 are off by 4e-7 of it, sums of fifty of them by a few times that.
      EXPECT_NEAR(scores[static_cast<size_t>(pixel)], 1 - r, 1e-5) << smoothing;
    }
  }
}

// What the score is for.
TEST(PearsonBackgroundScores, SeeAMovedPeakAndNoBackground) {
  auto spectrum = [](double peak_channel, auto&& background) {
    std::vector<float> values;
    for (int e = 0; e < 120; ++e) {
      const double away = (e - peak_channel) / 2;
      values.push_back(static_cast<float>(background(e) + 20 * std::exp(-away * away / 2)));
    }
    return values;
  };
  auto steep = [](int e) { return 80 * std::pow(1 + e / 400.0, -2.7); };
  auto flat = [](int e) { return 120 * std::pow(1 + e / 400.0, -1.5); };
  auto falling = [](int e) { return 300 - 2.0 * e; };
  auto rising = [](int e) { return 40 + 0.5 * e; };
  const SpectrumImage image = image_of({spectrum(60, flat), spectrum(65, steep), spectrum(60, falling)});
  const SpectrumImage expected = image_of({spectrum(60, steep), spectrum(60, steep), spectrum(60, rising)});
  const std::vector<float> scores = pearson_background_scores(image, expected.counts, {0, 120}, 8);
  EXPECT_LT(scores[0], 1e-3) << "its curvature is all that local lines leave of a background";
  EXPECT_GT(scores[1], 0.5);
  EXPECT_LT(scores[2], 1e-6) << "they leave nothing of a straight line, at its ends either";
  const std::vector<float> plain = pearson_scores(image, expected.counts, {0, 120});
  EXPECT_GT(plain[2], 0.5);
}

// Densities as their definition has them, normalized and in long double.
std::vector<double> rarity_by_definition(const std::vector<float>& latent, int64_t units,
                                         const std::vector<int64_t>& active) {
  const int64_t tiles = std::ssize(latent) / units;
  auto value = [&](int64_t tile, int64_t unit) -> long double {
    return latent[static_cast<size_t>(tile * units + unit)];
  };
  std::vector<long double> bandwidth;
  for (int64_t unit : active) {
    long double mean = 0, variance = 0;
    for (int64_t tile = 0; tile < tiles; ++tile) mean += value(tile, unit) / tiles;
    for (int64_t tile = 0; tile < tiles; ++tile)
      variance += (value(tile, unit) - mean) * (value(tile, unit) - mean) / tiles;
    const long double scott = std::pow(static_cast<long double>(tiles), -1.0L / (std::ssize(active) + 4));
    bandwidth.push_back(std::sqrt(variance) * scott);
  }
  std::vector<long double> density(static_cast<size_t>(tiles));
  for (int64_t tile = 0; tile < tiles; ++tile)
    for (int64_t other = 0; other < tiles; ++other) {
      if (other == tile) continue;
      long double kernel = 1.0L / (tiles - 1);
      for (size_t j = 0; j < active.size(); ++j) {
        const long double away = (value(tile, active[j]) - value(other, active[j])) / bandwidth[j];
        kernel *=
            std::exp(-away * away / 2) / (bandwidth[j] * std::sqrt(2 * std::numbers::pi_v<long double>));
      }
      density[static_cast<size_t>(tile)] += kernel;
    }
  const long double highest = *std::max_element(density.begin(), density.end());
  std::vector<double> rarity;
  for (long double d : density) rarity.push_back(static_cast<double>(std::log(highest / d)));
  return rarity;
}

// Units of different spread and mean; the second and the fourth, whose variances are 0.0025 and 0, are not
// active and must not matter, although the second one's tile 5 lies twenty of its deviations off.
TEST(LatentRarity, IsTheDefinitionsOverActiveUnits) {
  constexpr int64_t tiles = 23, units = 5;
  std::mt19937 generator(6);
  std::normal_distribution<float> normal;
  std::vector<float> latent;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    latent.push_back(10 + 2 * normal(generator));
    latent.push_back(0.01f * normal(generator) + (tile == 5 ? 0.2f : 0));
    latent.push_back(0.5f * normal(generator));
    latent.push_back(-3);
    latent.push_back(0.2f * normal(generator) - 1);
  }
  const std::vector<double> rarity = latent_rarity(latent, units);
  const std::vector<double> by_definition = rarity_by_definition(latent, units, {0, 2, 4});
  ASSERT_EQ(rarity.size(), static_cast<size_t>(tiles));
  for (size_t tile = 0; tile < rarity.size(); ++tile)
    EXPECT_NEAR(rarity[tile], by_definition[tile], 1e-9 * (1 + by_definition[tile])) << tile;
  EXPECT_EQ(*std::min_element(rarity.begin(), rarity.end()), 0);
  EXPECT_GT(*std::max_element(rarity.begin(), rarity.end()), 1);
}

// Far from all others every kernel underflows; its rarity is a number all the same.
TEST(LatentRarity, OfATileFarFromAllOthersIsFinite) {
  std::vector<float> latent;
  for (int tile = 0; tile < 2000; ++tile) latent.push_back(static_cast<float>(tile % 10));
  latent.push_back(2000);
  const std::vector<double> rarity = latent_rarity(latent, 1);
  // 1991 and more away, at a standard deviation of 44.6 and a bandwidth of 2001^(-1/5) of it.
  EXPECT_TRUE(std::isfinite(rarity.back()));
  EXPECT_GT(rarity.back(), 745) << "more than a double's exponential can hold";
  EXPECT_EQ(rarity.back(), *std::max_element(rarity.begin(), rarity.end()));
}

TEST(LatentRarity, IsZeroWhereNoUnitIsActive) {
  // Three of ten at 0.217: variances of 0.0099 and 0. A single tile has none.
  std::vector<float> latent;
  for (int tile = 0; tile < 10; ++tile) {
    latent.push_back(tile < 3 ? 0.217f : 0);
    latent.push_back(4);
  }
  EXPECT_EQ(latent_rarity(latent, 2), std::vector<double>(10));
  EXPECT_EQ(latent_rarity(std::vector<float>{3, 5}, 2), std::vector<double>(1));
  for (float& value : latent) value *= 1.01f;  // 0.0101
  EXPECT_NE(latent_rarity(latent, 2), std::vector<double>(10));
}

// Tiles of 4 pixels along a strip of 6, at 0 and 2: the two pixels in the middle are in both.
TEST(LatentScores, ArePearsonsTimesOnePlusTheBlendedRarity) {
  const TileGrid grid = make_tile_grid(4, 6, 4, 2);
  ASSERT_EQ(grid.size(), 2);
  SpectrumImage image;
  image.y.size = 4;
  image.x.size = 6;
  std::vector<float> pearson;
  for (int pixel = 0; pixel < 24; ++pixel) pearson.push_back(0.25f * static_cast<float>(pixel % 7));
  const std::vector<double> rarity = {0.5, 3};
  const std::vector<float> uniform = latent_scores(pearson, image, grid, rarity, Blend::uniform);
  const std::vector<float> raised = latent_scores(pearson, image, grid, rarity, Blend::cosine);
  // sin^2(pi (i + 1/2) / 4) of a tile's pixels: its outer two weigh 1/2 - sqrt(1/8), its inner ones the rest
  // of 1. In pixel 2 the first tile is at an inner pixel and the second at an outer one, in pixel 3 the other
  // way round.
  const double outer = 0.5 - std::sqrt(0.125), inner = 1 - outer;
  const std::vector<double> in_the_middle = {0.5 * inner + 3 * outer, 0.5 * outer + 3 * inner};
  for (size_t pixel = 0; pixel < 24; ++pixel) {
    const size_t x = pixel % 6;
    const double factor = x < 2 ? 1.5 : x > 3 ? 4 : 1 + 0.5 * (0.5 + 3);
    EXPECT_NEAR(uniform[pixel], pearson[pixel] * factor, 1e-6) << pixel;
    const double raised_factor = x < 2 ? 1.5 : x > 3 ? 4 : 1 + in_the_middle[x - 2];
    EXPECT_NEAR(raised[pixel], pearson[pixel] * raised_factor, 2e-6) << pixel;
  }
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
