#include "engine/noise/noise_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "kernels/error.h"

namespace eelsvae {
namespace {

struct Noisy {
  SpectrumImage image;
  std::vector<float> expected;
};

// Counts with variance floor + gain * expected around an expectation that falls from 2000 to 20 over the
// energy and varies by a tenth over the image.
Noisy noisy(int64_t height, int64_t width, int64_t channels, double floor, double gain, uint32_t seed = 1) {
  Noisy result;
  SpectrumImage& image = result.image;
  image.y = {"y", "nm", 0, 1, height};
  image.x = {"x", "nm", 0, 1, width};
  image.energy = {"Energy loss", "eV", 420, 0.3, channels};
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  for (int64_t pixel = 0; pixel < height * width; ++pixel)
    for (int64_t e = 0; e < channels; ++e) {
      const double level = 2000 * std::pow(0.01, static_cast<double>(e) / static_cast<double>(channels - 1)) *
                           (1 + 0.1 * std::sin(static_cast<double>(pixel % width) / 9));
      result.expected.push_back(static_cast<float>(level));
      image.counts.push_back(static_cast<float>(level + std::sqrt(floor + gain * level) * normal(generator)));
    }
  return result;
}

double mean_factor(const NoiseModel& model) {
  double sum = 0;
  for (float factor : model.channel_factor) sum += static_cast<double>(factor);
  return sum / static_cast<double>(model.channel_factor.size());
}

TEST(NoiseModel, FindsFloorAndGain) {
  for (auto [floor, gain] : {std::pair{81.0, 2.7}, {400.0, 1.0}, {4.0, 0.5}}) {
    const Noisy film = noisy(64, 64, 96, floor, gain);
    const NoiseModel model = estimate_noise(film.image, film.expected, 1);
    EXPECT_NEAR(model.gain, gain, 0.03 * gain);
    EXPECT_NEAR(model.floor, floor, 0.1 * floor + 0.02 * 20 * gain);
    EXPECT_NEAR(mean_factor(model), 1, 0.02);
    for (int64_t e = 0; e < 96; ++e) {
      const double level = 2000 * std::pow(0.01, static_cast<double>(e) / 95);
      EXPECT_NEAR(model.variance(0, e, level) / (floor + gain * level), 1, 0.2) << e;
    }
  }
}

TEST(NoiseModel, IsNotMovedByAnomaliesAndWhatVariesSlowly) {
  Noisy film = noisy(64, 64, 64, 81, 2.7);
  for (int64_t pixel = 0; pixel < 64 * 64; ++pixel) {
    const bool anomalous = pixel % 100 == 0, right = pixel % 64 >= 32;
    for (int64_t e = 0; e < 64; ++e) {
      float& count = film.image.spectrum(pixel)[e];
      if (right) count += 300;  // another phase that the expectation knows nothing of
      count += 0.2f * static_cast<float>(pixel / 64);
      if (anomalous) count *= 2;
    }
  }
  const NoiseModel model = estimate_noise(film.image, film.expected, 3);
  EXPECT_NEAR(model.gain, 2.7, 0.7);
  EXPECT_NEAR(model.floor, 81, 30);
}

// Three quarters of the image are a hundred times dimmer, as a support film is beside a particle.
TEST(NoiseModel, BrightAndDimPixelsEachHaveTheirOwn) {
  Noisy film = noisy(64, 64, 96, 0.5, 1);
  std::mt19937 generator(2);
  std::normal_distribution<double> normal;
  for (int64_t pixel = 0; pixel < 64 * 64; ++pixel) {
    if (pixel % 64 < 16) continue;
    for (int64_t e = 0; e < 96; ++e) {
      float& expected = film.expected[static_cast<size_t>(pixel * 96 + e)];
      expected *= 0.01f;
      const auto level = static_cast<double>(expected);
      film.image.spectrum(pixel)[e] = static_cast<float>(level + std::sqrt(0.5 + level) * normal(generator));
    }
  }
  const NoiseModel model = estimate_noise(film.image, film.expected, 1);
  EXPECT_NEAR(model.gain, 1, 0.03);
  EXPECT_NEAR(model.floor, 0.5, 0.05);
  EXPECT_NEAR(mean_factor(model), 1, 0.03);
}

TEST(NoiseModel, KnowsChannelsThatDiffer) {
  Noisy film = noisy(64, 64, 64, 81, 2.7);
  for (int64_t pixel = 0; pixel < 64 * 64; ++pixel) {
    float& loud = film.image.spectrum(pixel)[20];
    const float expected = film.expected[static_cast<size_t>(pixel * 64 + 20)];
    loud = expected + 2 * (loud - expected);
    // Clipped: the same everywhere, or nearly.
    film.image.spectrum(pixel)[40] = film.expected[static_cast<size_t>(pixel * 64 + 40)];
    float& quiet = film.image.spectrum(pixel)[41];
    quiet = film.expected[static_cast<size_t>(pixel * 64 + 41)] + 1e-4f * static_cast<float>(pixel % 7);
  }
  const NoiseModel model = estimate_noise(film.image, film.expected, 1);
  EXPECT_NEAR(model.gain, 2.7, 0.2);
  EXPECT_NEAR(static_cast<double>(model.channel_factor[20]), 4, 0.5);
  EXPECT_EQ(model.channel_factor[40], 1) << "no noise at all cannot be";
  EXPECT_EQ(model.channel_factor[41], 1);
}

// A background was subtracted and what is below 0 cut off: the values of most channels spread by a third of
// the noise, and two lines stand above that with all of it, which does not grow with them.
TEST(NoiseModel, KnowsLinesThatHaveNoMoreNoiseThanTheirSurroundings) {
  Noisy film = noisy(48, 48, 64, 1, 0);
  std::mt19937 generator(3);
  std::normal_distribution<float> normal;
  const auto line = [](int64_t e) { return e == 20 ? 12.0f : e == 21 || e == 40 ? 6.0f : 0.0f; };
  for (int64_t pixel = 0; pixel < 48 * 48; ++pixel)
    for (int64_t e = 0; e < 64; ++e) {
      const auto i = static_cast<size_t>(pixel * 64 + e);
      film.image.counts[i] = std::max(line(e) + normal(generator), 0.0f);
      film.expected[i] = line(e) > 0 ? line(e) : 0.399f;
    }
  const NoiseModel model = estimate_noise(film.image, film.expected, 1);
  for (const int64_t e : {20, 21, 40})
    EXPECT_NEAR(model.variance(100, e, static_cast<double>(line(e))), 1, 0.2) << e;
}

TEST(NoiseModel, LooksAlongYWhereTheImageIsNarrow) {
  const Noisy film = noisy(2000, 2, 32, 81, 2.7);
  EXPECT_NEAR(estimate_noise(film.image, film.expected, 5).gain, 2.7, 0.2);
}

TEST(NoiseModel, ExcludedPixelsMayHoldAnything) {
  Noisy film = noisy(32, 32, 32, 81, 2.7);
  film.image.excluded.assign(32 * 32, 0);
  for (size_t pixel = 0; pixel < 32 * 32; pixel += 5) film.image.excluded[pixel] = 1;
  const NoiseModel before = estimate_noise(film.image, film.expected, 2);
  for (int64_t pixel = 0; pixel < 32 * 32; pixel += 5)
    std::fill_n(film.image.spectrum(pixel), 32, std::numeric_limits<float>::quiet_NaN());
  const NoiseModel after = estimate_noise(film.image, film.expected, 2);
  EXPECT_EQ(before.floor, after.floor);
  EXPECT_EQ(before.gain, after.gain);
  EXPECT_EQ(before.channel_factor, after.channel_factor);
}

// Of the film, the noise of which is white: each channel's is mixed with that of the channel before.
void correlate(Noisy& film, double correlation) {
  const double own = std::sqrt((1 + std::sqrt(1 - 4 * correlation * correlation)) / 2);
  const int64_t channels = film.image.energy.size;
  for (int64_t pixel = 0; pixel < film.image.pixels(); ++pixel) {
    auto scale = [&](int64_t e) {
      return std::sqrt(81 +
                       2.7 * static_cast<double>(film.expected[static_cast<size_t>(pixel * channels + e)]));
    };
    double before = 0;
    for (int64_t e = 0; e < channels; ++e) {
      float& count = film.image.spectrum(pixel)[e];
      const auto expected = static_cast<double>(film.expected[static_cast<size_t>(pixel * channels + e)]);
      const double here = (static_cast<double>(count) - expected) / scale(e);
      count = static_cast<float>(expected + scale(e) * (own * here + correlation / own * before));
      before = here;
    }
  }
}

// A standard deviation of what is measured is less than 0.01 here. Neither anomalies nor another phase nor
// edges whose amounts vary from pixel to pixel, in a quarter of the channels, nor a background that does are
// noise.
TEST(NoiseModel, FindsHowNeighbouringChannelsCorrelate) {
  for (double correlation : {0.5, 0.3, -0.2})
    for (bool specimen_varies : {false, true}) {
      Noisy film = noisy(64, 64, 96, 81, 2.7);
      correlate(film, correlation);
      std::mt19937 generator(2);
      std::normal_distribution<double> normal;
      for (int64_t pixel = 0; specimen_varies && pixel < 64 * 64; ++pixel) {
        const double edge = 20 * normal(generator), background = 6 * normal(generator);
        for (int64_t e = 0; e < 96; ++e) {
          float& count = film.image.spectrum(pixel)[e];
          count += static_cast<float>((e >= 40 && e < 64 ? edge : 0) + background);
          if (pixel % 64 >= 32) count += 300;
          if (pixel % 100 == 0) count *= 2;
        }
      }
      const NoiseModel model = estimate_noise(film.image, film.expected, 1);
      ASSERT_EQ(model.correlation.size(), 4u) << correlation;
      // What varies counts for noise in the variance, and so a little less of the rest is noise.
      const double most_off = specimen_varies ? 0.05 : 0.02;
      EXPECT_NEAR(model.correlation[0], correlation, most_off) << specimen_varies;
      for (size_t l = 1; l < 4; ++l) EXPECT_NEAR(model.correlation[l], 0, most_off) << specimen_varies;
      // Spread is measured in each channel by itself.
      if (!specimen_varies) {
        EXPECT_NEAR(model.gain, 2.7, 0.1);
        EXPECT_NEAR(mean_factor(model), 1, 0.02);
      }
    }
}

TEST(NoiseModel, TakesNoChanceForACorrelation) {
  for (auto [side, channels] : {std::pair<int64_t, int64_t>{64, 96}, {4, 96}, {8, 20}, {16, 7}, {3, 1}})
    for (uint32_t seed = 1; seed <= 20; ++seed) {
      const Noisy film = noisy(side, side, std::max<int64_t>(channels, 2), 81, 2.7, seed);
      EXPECT_TRUE(estimate_noise(film.image, film.expected, 1).correlation.empty())
          << side << " " << channels;
    }
  // So little of it is not worth whitening.
  Noisy film = noisy(64, 64, 96, 81, 2.7);
  correlate(film, 0.03);
  EXPECT_TRUE(estimate_noise(film.image, film.expected, 1).correlation.empty());
}

TEST(NoiseModel, CannotBeMeasuredInEverything) {
  const Noisy tiny = noisy(3, 3, 16, 81, 2.7);
  EXPECT_THROW(estimate_noise(tiny.image, tiny.expected, 3), UserError);
  Noisy silent = noisy(8, 8, 16, 81, 2.7);
  silent.image.counts.assign(silent.expected.begin(), silent.expected.end());
  EXPECT_THROW(estimate_noise(silent.image, silent.expected, 1), UserError);
  EXPECT_THROW(estimate_noise(silent.image, std::vector<float>(3), 1), std::logic_error);
}

TEST(NoiseModel, KnowsWhatIsClipped) {
  Noisy data = noisy(40, 40, 32, 20, 1);
  EXPECT_LT(estimate_noise(data.image, data.expected, 1).clipped[0], 0.01f) << "one value is the largest";
  double share = 0;  // of the first channel's values
  for (int64_t pixel = 0; pixel < 1600; ++pixel)
    share += data.image.spectrum(pixel)[0] >= 2000 ? 1 / 1600.0 : 0;
  for (float& count : data.image.counts) count = std::min(count, 2000.0f);
  const std::vector<float> clipped = estimate_noise(data.image, data.expected, 1).clipped;
  ASSERT_EQ(clipped.size(), 32u);
  EXPECT_NEAR(clipped[0], share, 0.02) << "the last column begins no pair";
  EXPECT_EQ(clipped[16], 0);
}

}  // namespace
}  // namespace eelsvae
