#include "engine/detect/whitened_score.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "tests/engine/white_noise.h"

namespace eelsvae {
namespace {

WhitenedScores whitened_scores(const SpectrumImageView& observed, std::span<const float> expected,
                               const ResidualModel& model, ChannelWindow window, int64_t context) {
  const NormalVariation variation(observed, expected, model, context);
  return eelsvae::whitened_scores(observed, expected, variation,
                                  MatchedFilters(observed, expected, variation, window));
}

using Sample = NoisySample;

Sample white(int64_t height, int64_t width, int64_t channels, uint32_t seed = 1) {
  return white_noise(height, width, channels, 1, seed);
}

ResidualModel white_model(int64_t channels) {
  ResidualModel model;
  model.noise.floor = 1;
  model.noise.channel_factor.assign(static_cast<size_t>(channels), 1);
  model.mean.assign(static_cast<size_t>(channels), 0);
  return model;
}

void add_peak(float* spectrum, int64_t channels, double centre, double width, double height) {
  for (int64_t e = 0; e < channels; ++e) {
    const double u = (static_cast<double>(e) - centre) / width;
    spectrum[e] += static_cast<float>(height * std::exp(-u * u / 2));
  }
}

float quantile(std::vector<float> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
}

TEST(WhitenedScores, OfNoiseAreThoseOfAMaximumOfNormalVariables) {
  const Sample sample = white(48, 48, 128);
  const WhitenedScores found = whitened_scores(sample.image, sample.expected, white_model(128), {0, 128}, 0);
  // About 128 * 8 filters, of which some hundred are independent.
  EXPECT_NEAR(quantile(found.scores, 0.5), 3.2, 0.25);
  EXPECT_LT(quantile(found.scores, 1), 6);
}

TEST(WhitenedScores, OfAPeakIsWhatTheMatchedFilterPromises) {
  const int64_t channels = 128;
  for (double width : {1.0, 2.0, 4.0})
    for (double height : {8.0, -8.0}) {
      Sample sample = white(48, 48, channels);
      std::vector<int64_t> planted;
      for (int64_t pixel = 0; pixel < 48 * 48; pixel += 200) {  // 0.5 %
        add_peak(sample.image.spectrum(pixel), channels, 60, width, height);
        planted.push_back(pixel);
      }
      const WhitenedScores found =
          whitened_scores(sample.image, sample.expected, white_model(channels), {0, channels}, 0);
      // height * |peak|, |exp(-u^2 / 2)|^2 = sqrt(pi) width
      const double theory = 8 * std::sqrt(1.7724538509 * width);
      double mean = 0;
      for (int64_t pixel : planted) {
        const auto at = static_cast<size_t>(pixel);
        mean += static_cast<double>(found.scores[at]) / static_cast<double>(planted.size());
        const Deviation& deviation = found.deviations[at];
        EXPECT_LE(deviation.first, 60);
        EXPECT_GT(deviation.last, 60);
        EXPECT_GT(deviation.last - deviation.first, width);
        EXPECT_LT(deviation.last - deviation.first, 8 * width + 3);
        EXPECT_GT(deviation.significance * height, 0);
        EXPECT_NEAR(std::abs(deviation.significance), found.scores[at], 1e-4);
        EXPECT_GT(deviation.share * height, 0);
        EXPECT_LT(std::abs(deviation.share), 0.1) << "8 of 100 at most, and noise";
      }
      EXPECT_NEAR(mean, theory, 0.06 * theory) << width;
    }
}

// With the noise's covariance R, a matched filter of the shape s promises a sqrt(s^T R^-1 s). Neighbours that
// correlate by 0.4 hide a broad peak (0.76 of what it is in white noise) and show a narrow one (1.22).
TEST(WhitenedScores, OfAPeakInCorrelatedNoiseAreWhatTheMatchedFilterPromises) {
  const int64_t channels = 128;
  const double correlation = 0.4;
  for (double width : {0.5, 1.0, 4.0}) {
    Sample sample = correlated_noise(48, 48, channels, 1, correlation);
    const double height = 9 / std::sqrt(1.7724538509 * width);
    std::vector<int64_t> planted;
    for (int64_t pixel = 0; pixel < 48 * 48; pixel += 200) {
      add_peak(sample.image.spectrum(pixel), channels, 60, width, height);
      planted.push_back(pixel);
    }
    ResidualModel model = white_model(channels);
    model.whitening = EnergyWhitening(std::vector<double>{correlation, 0, 0, 0, 0, 0, 0, 0});
    const WhitenedScores found = whitened_scores(sample.image, sample.expected, model, {0, channels}, 0);
    // s^T R^-1 s in frequencies w, where R has the power 1 + 2 correlation cos w.
    double theory = 0;
    constexpr int steps = 1000;
    for (int i = 0; i < steps; ++i) {
      const double w = 3.14159265 * (i + 0.5) / steps;
      double cosines = 0, sines = 0;
      for (int64_t e = 0; e < channels; ++e) {
        const auto d = static_cast<double>(e - 60);
        const double s = height * std::exp(-d * d / (2 * width * width));
        cosines += s * std::cos(w * d);
        sines += s * std::sin(w * d);
      }
      theory += (cosines * cosines + sines * sines) / (1 + 2 * correlation * std::cos(w)) / steps;
    }
    theory = std::sqrt(theory);
    double mean = 0;
    for (int64_t pixel : planted) {
      const auto at = static_cast<size_t>(pixel);
      mean += static_cast<double>(found.scores[at]) / static_cast<double>(planted.size());
      EXPECT_LE(found.deviations[at].first, 60);
      EXPECT_GT(found.deviations[at].last, 60);
      EXPECT_GT(found.deviations[at].significance, 0);
    }
    EXPECT_NEAR(mean, theory, 0.06 * theory) << width;
    std::vector<float> others = found.scores;
    for (int64_t pixel : planted) others[static_cast<size_t>(pixel)] = 0;
    EXPECT_NEAR(quantile(others, 0.5), 3.2, 0.25) << "as of white noise";
    EXPECT_LT(quantile(others, 1), 6);
  }
}

// A line at 60 that moves up by one channel, or down, leaves less below and more above, or the reverse.
TEST(WhitenedScores, OfAShiftIsAPairWithADirection) {
  const int64_t channels = 128;
  for (double shift : {1.0, -1.0}) {
    Sample sample = white(48, 48, channels);
    std::vector<float> spectrum(static_cast<size_t>(channels), 100);
    add_peak(spectrum.data(), channels, 60, 3, 60);
    for (int64_t pixel = 0; pixel < 48 * 48; ++pixel) {
      const bool moved = pixel % 90 == 0;
      std::copy(spectrum.begin(), spectrum.end(), sample.expected.begin() + pixel * channels);
      add_peak(sample.image.spectrum(pixel), channels, moved ? 60 + shift : 60, 3, 60);
    }
    const WhitenedScores found =
        whitened_scores(sample.image, sample.expected, white_model(channels), {0, channels}, 0);
    for (size_t pixel = 0; pixel < found.scores.size(); pixel += 90) {
      EXPECT_GT(found.scores[pixel], 20);
      const Deviation& deviation = found.deviations[pixel];
      const double centre = (deviation.first + deviation.last - 1) / 2.0;
      EXPECT_NEAR(std::abs(centre - 60), 4, 2.5);
      EXPECT_EQ(deviation.significance > 0, (centre > 60) == (shift > 0)) << centre;
      EXPECT_EQ(deviation.share > 0, deviation.significance > 0);
    }
  }
}

// A broad component whose amount rises over the image and drifts with the scan line, `amounts` of it known.
struct Gradient {
  Sample sample;
  ResidualModel model;
};

Gradient gradient(int64_t odd_pixel, double odd_amount) {
  const int64_t side = 48, channels = 128;
  Gradient g{white(side, side, channels), white_model(channels)};
  std::vector<float> shape(static_cast<size_t>(channels));
  add_peak(shape.data(), channels, 60, 4, 1);
  double norm = 0;
  for (float v : shape) norm += static_cast<double>(v) * static_cast<double>(v);
  for (float& v : shape) v /= static_cast<float>(std::sqrt(norm));
  std::mt19937 generator(9);
  std::normal_distribution<double> normal;
  double squares = 0;
  for (int64_t y = 0; y < side; ++y) {
    const double drift = 5 * normal(generator);
    for (int64_t x = 0; x < side; ++x) {
      const int64_t pixel = y * side + x;
      double amount = drift + 40 * (static_cast<double>(x) / (static_cast<double>(side) - 1) - 0.5);
      if (pixel == odd_pixel) amount += odd_amount;
      squares += amount * amount / static_cast<double>(side * side);
      for (int64_t e = 0; e < channels; ++e)
        g.sample.image.spectrum(pixel)[e] += static_cast<float>(amount) * shape[static_cast<size_t>(e)];
    }
  }
  g.model.components = shape;
  g.model.strengths = {squares};
  return g;
}

TEST(WhitenedScores, AGradientAndADriftAreNoAnomalyButASinglePixelIs) {
  const int64_t odd = 20 * 48 + 30;
  // Half of what the composition changes by over the image: common, but not here.
  const Gradient g = gradient(odd, 20);
  const WhitenedScores local = whitened_scores(g.sample.image, g.sample.expected, g.model, {0, 128}, 9);
  const WhitenedScores global = whitened_scores(g.sample.image, g.sample.expected, g.model, {0, 128}, 0);
  std::vector<float> others = local.scores;
  others[odd] = 0;
  EXPECT_LT(quantile(others, 1), 6);
  EXPECT_NEAR(quantile(others, 0.5), 3.2, 0.3);
  EXPECT_GT(local.scores[odd], 8);
  EXPECT_LT(global.scores[odd], 6) << "an amount that normal spectra show elsewhere";
  EXPECT_LE(local.deviations[odd].first, 60);
  EXPECT_GT(local.deviations[odd].last, 60);
  EXPECT_GT(local.deviations[odd].significance, 0);
}

TEST(WhitenedScores, AreTheSameOnAnyNumberOfThreads) {
  const Gradient g = gradient(7, 20);
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const WhitenedScores one = whitened_scores(g.sample.image, g.sample.expected, g.model, {0, 128}, 9);
  omp_set_num_threads(3);
  const WhitenedScores three = whitened_scores(g.sample.image, g.sample.expected, g.model, {0, 128}, 9);
  omp_set_num_threads(threads);
  EXPECT_EQ(one.scores, three.scores);
}

TEST(WhitenedScores, LookOnlyIntoTheWindow) {
  Sample sample = white(30, 30, 128);
  add_peak(sample.image.spectrum(100), 128, 20, 2, 50);
  const WhitenedScores found = whitened_scores(sample.image, sample.expected, white_model(128), {60, 100}, 0);
  EXPECT_LT(quantile(found.scores, 1), 6);
  for (const Deviation& deviation : found.deviations) {
    EXPECT_GE(deviation.first, 60);
    EXPECT_LE(deviation.last, 100);
    EXPECT_LT(deviation.first, deviation.last);
  }
}

TEST(WhitenedScores, ShortWindowsAndSmallImages) {
  for (auto [side, channels] : {std::pair<int64_t, int64_t>{24, 16}, {24, 3}, {24, 1}, {2, 16}, {1, 16}}) {
    const Sample sample = white(side, side, channels);
    const WhitenedScores found =
        whitened_scores(sample.image, sample.expected, white_model(channels), {0, channels}, 9);
    for (float score : found.scores) EXPECT_TRUE(std::isfinite(score));
    if (side == 24) {
      EXPECT_LT(quantile(found.scores, 1), 6) << channels;
      EXPECT_GT(quantile(found.scores, 0.5), 0.5) << channels;
    }
  }
  const Sample sample = white(24, 24, 64);
  for (float score : whitened_scores(sample.image, sample.expected, white_model(64), {61, 64}, 9).scores)
    EXPECT_LT(score, 6);
}

TEST(WhitenedScores, OfWhatIsAllAsExpectedAreZero) {
  Sample sample = white(24, 24, 32);
  sample.image.counts.assign(sample.expected.begin(), sample.expected.end());
  const WhitenedScores found = whitened_scores(sample.image, sample.expected, white_model(32), {0, 32}, 9);
  for (float score : found.scores) EXPECT_EQ(score, 0);
}

TEST(WhitenedScores, ExcludedPixelsMayHoldAnything) {
  // Every second column and every pixel that a sample of each k-th one would take.
  Gradient g = gradient(0, 0);
  g.sample.image.excluded.assign(48 * 48, 0);
  for (size_t pixel = 0; pixel < 48 * 48; pixel += 2) g.sample.image.excluded[pixel] = 1;
  const WhitenedScores before = whitened_scores(g.sample.image, g.sample.expected, g.model, {0, 128}, 9);
  for (int64_t pixel = 0; pixel < 48 * 48; pixel += 2)
    std::fill_n(g.sample.image.spectrum(pixel), 128, std::numeric_limits<float>::quiet_NaN());
  const WhitenedScores after = whitened_scores(g.sample.image, g.sample.expected, g.model, {0, 128}, 9);
  for (size_t pixel = 0; pixel < before.scores.size(); ++pixel) {
    ASSERT_EQ(std::isnan(after.scores[pixel]), pixel % 2 == 0);
    if (pixel % 2 == 1) {
      ASSERT_EQ(before.scores[pixel], after.scores[pixel]);
      ASSERT_GT(after.scores[pixel], 0);
    }
  }
}

}  // namespace
}  // namespace eelsvae
