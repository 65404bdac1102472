#include "engine/thresholds.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "kernels/error.h"

namespace eelsvae {
namespace {

// The definition, split by split: classes are the pixels in bins up to and above the split.
double brute_force(const std::vector<float>& scores) {
  double low = *std::min_element(scores.begin(), scores.end());
  double high = *std::max_element(scores.begin(), scores.end());
  double best = -1, threshold = 0;
  for (int split = 0; split < 255; ++split) {
    std::vector<double> lower, upper;
    for (float score : scores) {
      int bin = std::min(255, static_cast<int>((static_cast<double>(score) - low) / (high - low) * 256));
      (bin <= split ? lower : upper).push_back((bin + 0.5) / 256);
    }
    if (lower.empty() || upper.empty()) continue;
    double n = static_cast<double>(scores.size());
    double w0 = static_cast<double>(lower.size()) / n, w1 = static_cast<double>(upper.size()) / n;
    double mean0 = std::accumulate(lower.begin(), lower.end(), 0.0) / static_cast<double>(lower.size());
    double mean1 = std::accumulate(upper.begin(), upper.end(), 0.0) / static_cast<double>(upper.size());
    double merit = w0 * w1 * (mean0 - mean1) * (mean0 - mean1) * std::pow((split + 0.5) / 256, 0.95);
    if (merit > best * (1 + 1e-12)) {
      best = merit;
      threshold = low + (split + 0.5) / 256 * (high - low);
    }
  }
  return threshold;
}

std::vector<float> two_classes(uint32_t seed, size_t normal_pixels, size_t anomalous_pixels) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> low(0.08f, 0.02f), high(0.5f, 0.1f);
  std::vector<float> scores;
  for (size_t i = 0; i < normal_pixels; ++i) scores.push_back(low(generator));
  for (size_t i = 0; i < anomalous_pixels; ++i) scores.push_back(high(generator));
  return scores;
}

TEST(Otsu, IsTheBruteForceMaximum) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    std::vector<float> scores = two_classes(seed, 500, 10 + 20 * seed);
    EXPECT_NEAR(otsu_threshold(scores), brute_force(scores), 1e-9) << seed;
  }
}

TEST(Otsu, SeparatesTwoClasses) {
  std::vector<float> scores = two_classes(1, 5000, 500);
  double threshold = otsu_threshold(scores);
  EXPECT_GT(threshold, 0.15);
  EXPECT_LT(threshold, 0.5);
}

TEST(Otsu, FollowsTheUnitsOfTheScore) {
  std::vector<float> scores = two_classes(2, 500, 100), scaled;
  for (float score : scores) scaled.push_back(8 * score);
  EXPECT_DOUBLE_EQ(otsu_threshold(scaled), 8 * otsu_threshold(scores));
}

TEST(Otsu, LeavesPixelsOut) {
  std::vector<float> scores = two_classes(3, 500, 100), with_outlier = scores;
  with_outlier.push_back(1e6f);
  std::vector<uint8_t> left_out(with_outlier.size(), 0);
  left_out.back() = 1;
  EXPECT_EQ(otsu_threshold(with_outlier, left_out), otsu_threshold(scores));
  EXPECT_NE(otsu_threshold(with_outlier), otsu_threshold(scores));
}

TEST(Otsu, OfEqualScoresFindsNothing) {
  std::vector<float> scores(50, 0.3f);
  std::vector<uint8_t> mask = anomalous(scores, otsu_threshold(scores));
  EXPECT_EQ(std::accumulate(mask.begin(), mask.end(), 0), 0);
}

TEST(Otsu, OfNothingIsAUserError) {
  std::vector<float> scores(3, 0.3f);
  std::vector<uint8_t> left_out(3, 1);
  EXPECT_THROW(otsu_threshold(scores, left_out), UserError);
  EXPECT_THROW(otsu_threshold({}), UserError);
}

TEST(Otsu, OfScoresThatAreNotFiniteIsADefect) {
  std::vector<float> scores = {0.1f, std::numeric_limits<float>::quiet_NaN(), 0.3f};
  EXPECT_THROW(otsu_threshold(scores), std::logic_error);
}

TEST(Anomalous, MeansAboveTheThreshold) {
  std::vector<float> scores = {0.1f, 0.5f, 0.6f};
  EXPECT_EQ(anomalous(scores, 0.5), (std::vector<uint8_t>{0, 0, 1}));
}

}  // namespace
}  // namespace eelsvae
