#include "engine/noise/prediction.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "engine/detect/comparison.h"
#include "engine/prepare/preprocess.h"

namespace eelsvae {
namespace {

// A film whose two components change over it, with Poisson-like noise, prepared or not; and what is expected.
struct Film {
  SpectrumImage image;
  CountArray expected;
};

Film film(int64_t height, int64_t width, const PreprocessConfig& preprocess, unsigned seed) {
  Film film;
  film.image.y.size = height;
  film.image.x.size = width;
  film.image.energy = {"Energy loss", "eV", 400, 0.5, 64};
  film.image.counts.resize(static_cast<size_t>(film.image.pixels() * 64));
  SpectrumImage truth = film.image;
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  for (int64_t pixel = 0; pixel < truth.pixels(); ++pixel)
    for (int64_t e = 0; e < 64; ++e) {
      const double x = static_cast<double>(pixel % width) / static_cast<double>(width),
                   peak = 60 * std::exp(-0.5 * std::pow((static_cast<double>(e) - 30) / 3, 2)),
                   other = 60 * std::exp(-0.5 * std::pow((static_cast<double>(e) - 45) / 3, 2));
      const auto level = static_cast<float>(100 + x * peak + (1 - x) * other);
      truth.spectrum(pixel)[e] = level;
      film.image.spectrum(pixel)[e] = level + std::sqrt(level) * normal(generator);
    }
  smooth_and_scale(film.image, preprocess);
  smooth_and_scale(truth, preprocess);
  film.expected = truth.counts;
  return film;
}

PreprocessConfig unscaled(double sigma, int64_t window) {
  PreprocessConfig config;
  config.sigma = sigma;
  config.xy_window = window;
  config.scaling_method = Scaling::none;
  return config;
}

const std::vector<TileOrigin> corners = {{0, 0}, {0, 24}, {24, 0}, {24, 24}};

// What holds for noise as it is, and as filters leave it.
class Prediction : public testing::TestWithParam<std::pair<double, int64_t>> {
 protected:
  PreprocessConfig config_ = unscaled(GetParam().first, GetParam().second);
  Film film_ = film(48, 48, config_, 3);
  std::vector<uint8_t> all_ = std::vector<uint8_t>(48 * 48, 1);
  PredictionSample sample_ = *make_prediction_sample(film_.image, corners, 24, 24, all_, config_, 1);
};

TEST_P(Prediction, OfTheTruthIsOne) {
  CountArray truth;
  for (const TileOrigin origin : corners)
    for (int64_t y = 0; y < 24; ++y) {
      const auto row = film_.expected.begin() + ((origin.y + y) * 48 + origin.x) * 64;
      truth.insert(truth.end(), row, row + 24 * 64);
    }
  EXPECT_NEAR(predictive_deviance(sample_, truth, truth), 1, 0.04);
}

// What foretells totals and is wrong about them, is as good as the truth by its shapes.
TEST_P(Prediction, TotalsAreTakenAsTheyAre) {
  const auto truth_times = [&](float factor, bool totals, bool with_fresh_noise) {
    CountArray predicted;
    for (int64_t i = 0; i < std::ssize(corners); ++i) {
      CountArray part;
      const TileOrigin origin = corners[static_cast<size_t>(i)];
      for (int64_t y = 0; y < 24; ++y) {
        const auto row = film_.expected.begin() + ((origin.y + y) * 48 + origin.x) * 64;
        part.insert(part.end(), row, row + 24 * 64);
      }
      for (float& value : part) value *= factor;
      if (totals) take_totals(sample_.rectangle(i, with_fresh_noise), part);
      predicted.insert(predicted.end(), part.begin(), part.end());
    }
    return predicted;
  };
  const auto deviance = [&](float factor, bool totals) {
    return predictive_deviance(sample_, truth_times(factor, totals, false),
                               truth_times(factor, totals, true));
  };
  EXPECT_GT(deviance(1.1f, false), 1.2);
  EXPECT_NEAR(deviance(1.1f, true), deviance(1, true), 1e-3);
  // A total that is taken from the spectrum itself costs what one number fitted to 64 does.
  EXPECT_NEAR(deviance(1.1f, true), 1 + 1.0 / 64, 0.04);
}

TEST_P(Prediction, OfACopyIsTwo) {
  EXPECT_NEAR(predictive_deviance(sample_, sample_.observed.counts, sample_.disturbed), 2, 0.05);
}

TEST_P(Prediction, ComponentsOfTheSpecimenHelpAndThoseOfNoiseDoNot) {
  auto by = [&](const char* baseline) {
    const Baseline fitted(film_.image, {}, parse_baseline(baseline));
    return predictive_deviance(sample_,
                               [&](const SpectrumImageView& image) { return expect_from(fitted, image); });
  };
  const double mean = by("mean"), one = by("pca:1"), fifty = by("pca:50");
  EXPECT_LT(one, mean - 0.1);
  EXPECT_GT(fifty, one + 0.1);
}

INSTANTIATE_TEST_SUITE_P(Filters, Prediction,
                         testing::Values(std::pair{0.0, int64_t{1}}, std::pair{0.5, int64_t{1}},
                                         std::pair{0.5, int64_t{3}}));

TEST(PredictionSample, CountsWhatItIsToldTo) {
  Film film = eelsvae::film(48, 48, unscaled(0, 1), 3);
  film.image.excluded.assign(48 * 48, 0);
  film.image.excluded[25] = 1;  // in the second tile
  std::vector<uint8_t> counted(48 * 48);
  for (size_t x = 0; x < 48; ++x) counted[x] = 1;
  const auto sample = make_prediction_sample(film.image, corners, 24, 24, counted, unscaled(0, 1), 1);
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample->rectangles(), 4);
  EXPECT_EQ(sample->spectra(), 47);  // and a fiftieth of them is none
  EXPECT_EQ(sample->observed.excluded[24 * 24 + 1], 1);
  EXPECT_EQ(sample->observed.excluded[24 * 24 + 2], 0);
  EXPECT_EQ(sample->rectangle(1, false).counts[0], film.image.spectrum(24)[0]);
}

TEST(PredictionSample, LeavesOutWhatIsHot) {
  Film film = eelsvae::film(48, 48, unscaled(0, 1), 3);
  std::fill_n(film.image.spectrum(100), 30, 5000.0f);
  const std::vector<uint8_t> all(48 * 48, 1);
  const auto sample = make_prediction_sample(film.image, corners, 24, 24, all, unscaled(0, 1), 1);
  EXPECT_EQ(sample->spectra(), 48 * 48 - 46);
  EXPECT_LT(compare_baselines(*sample, film.image, {})->mean, 2);
}

TEST(PredictionSample, IsAbsentWhereNothingCanBeSaid) {
  const Film film = eelsvae::film(48, 48, unscaled(0.5, 3), 3);
  const std::vector<uint8_t> all(48 * 48, 1), none(48 * 48, 0);
  EXPECT_FALSE(make_prediction_sample(film.image, {}, 24, 24, all, unscaled(0.5, 3), 1));
  EXPECT_FALSE(make_prediction_sample(film.image, corners, 24, 24, none, unscaled(0.5, 3), 1));
  EXPECT_FALSE(make_prediction_sample(film.image, corners, 12, 12, all, unscaled(0.5, 3), 1));
}

TEST(PredictionSample, TakesSomeOfMany) {
  SpectrumImage image;
  image.y.size = image.x.size = 48;
  image.energy.size = 1024;
  image.counts.resize(48 * 48 * 1024);
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(100, 10);
  std::ranges::generate(image.counts, [&] { return normal(generator); });
  std::vector<TileOrigin> tiles;
  for (int64_t y = 0; y <= 24; ++y) tiles.push_back({y, 0});
  const auto sample =
      make_prediction_sample(image, tiles, 24, 48, std::vector<uint8_t>(48 * 48, 1), unscaled(0, 1), 1);
  EXPECT_EQ(sample->rectangles(), 14);  // of 4.5 MiB in 64
  EXPECT_EQ(sample->rectangle(13, false).counts[0], image.spectrum(23 * 48)[0]);
}

}  // namespace
}  // namespace eelsvae
