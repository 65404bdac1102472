#include "engine/detect/thresholds.h"

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

// ---- false-discovery rates ----

EmpiricalNull standard_normal(double share) {
  EmpiricalNull null;
  null.normal_share = share;
  return null;
}

// Benjamini and Hochberg's definition: the largest i whose i-th smallest p-value is at most rate * i / n0.
size_t found_by_definition(const std::vector<float>& scores, const EmpiricalNull& null, double rate) {
  std::vector<double> p;
  for (float score : scores) p.push_back(null.p_value(static_cast<double>(score)));
  std::sort(p.begin(), p.end());
  for (size_t i = p.size(); i > 0; --i)
    if (p[i - 1] <= rate * static_cast<double>(i) / (static_cast<double>(p.size()) * null.normal_share))
      return i;
  return 0;
}

size_t found(const std::vector<float>& scores, double threshold) {
  const std::vector<uint8_t> mask = anomalous(scores, threshold);
  return static_cast<size_t>(std::count(mask.begin(), mask.end(), uint8_t{1}));
}

TEST(FdrThreshold, IsBenjaminiAndHochbergs) {
  std::mt19937 generator(6);
  std::normal_distribution<float> normal;
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<float> scores;
    for (int i = 0; i < 60; ++i) {
      const float score = normal(generator) + (i % 6 == 0 ? 0.05f * static_cast<float>(trial) : 0);
      scores.push_back(trial % 2 ? score : std::round(4 * score) / 4);  // with ties
    }
    for (double rate : {0.01, 0.05, 0.3, 0.9})
      for (double share : {1.0, 0.6}) {
        const EmpiricalNull null = standard_normal(share);
        EXPECT_EQ(found(scores, fdr_threshold(scores, null, rate)), found_by_definition(scores, null, rate));
      }
  }
}

TEST(FdrThreshold, LiesHalfwayToTheNextScore) {
  EXPECT_EQ(fdr_threshold(std::vector<float>{0, 0.5f, 6, 8, 1}, standard_normal(1), 0.05), 3.5);
}

TEST(FdrThreshold, WithoutFindsIsWhereOneWouldBeFoundAlone) {
  const std::vector<float> scores = {-1, 0, 0.5f, 1, 1.5f};
  const double threshold = fdr_threshold(scores, standard_normal(1), 0.05);
  EXPECT_NEAR(standard_normal(1).p_value(threshold), 0.05 / 5, 1e-9);
  EXPECT_EQ(found(scores, threshold), 0u);
}

TEST(FdrThreshold, EverythingCanBeFound) {
  const std::vector<float> scores = {7, 7, 9, 8};
  EXPECT_EQ(found(scores, fdr_threshold(scores, standard_normal(1), 0.05)), 4u);
}

TEST(FdrThreshold, LeavesPixelsOut) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(fdr_threshold(std::vector<float>{0, 0.5f, 6, nan, 8, 1, 99}, standard_normal(1), 0.05,
                          std::vector<uint8_t>{0, 0, 0, 1, 0, 0, 1}),
            3.5);
  EXPECT_THROW(fdr_threshold({}, standard_normal(1), 0.05), UserError);
  EXPECT_THROW(fdr_threshold(std::vector<float>{nan}, standard_normal(1), 0.05, std::vector<uint8_t>{1}),
               UserError);
}

TEST(ConformalThreshold, IsByRanksAmongNormalScores) {
  std::vector<float> normal;
  for (int i = 0; i < 99; ++i) normal.push_back(static_cast<float>(i));
  // p of 98.5 and more is 1 / 100, of 97.5 2 / 100.
  EXPECT_EQ(conformal_threshold(std::vector<float>{99, 97.5f, 20, 30}, normal, 0.05), 63.75);
  EXPECT_EQ(conformal_threshold(std::vector<float>{99, 97.5f, 20, 30}, normal, 0.04), 63.75);
  EXPECT_EQ(conformal_threshold(std::vector<float>{99, 97, 20, 30}, normal, 0.04), 98);
  // A score as high as a normal one counts it: p of 98 is 2 / 100.
  EXPECT_NEAR(conformal_threshold(std::vector<float>{98, 20}, normal, 0.02), 98, 1e-9);
}

TEST(ConformalThreshold, CannotFindAmongTooManyWithTooFewNormalScores) {
  const std::vector<float> normal(19, 1);
  const std::vector<float> scores = {50, 1, 1, 1};
  EXPECT_EQ(found(scores, conformal_threshold(scores, normal, 0.1)), 0u);
  EXPECT_EQ(found(scores, conformal_threshold(scores, normal, 0.2)), 1u);
  EXPECT_THROW(conformal_threshold(scores, {}, 0.1), UserError);
}

// Without anomalies, the share of images in which anything is found is at most the rate, whatever the
// distribution: p-values are super-uniform.
TEST(ConformalThreshold, KeepsTheRateWithoutKnowingTheDistribution) {
  std::mt19937 generator(12);
  std::cauchy_distribution<float> cauchy;
  int alarms = 0, below = 0;
  const int trials = 2000;
  for (int trial = 0; trial < trials; ++trial) {
    std::vector<float> normal, scores;
    for (int i = 0; i < 199; ++i) normal.push_back(cauchy(generator));
    for (int i = 0; i < 10; ++i) scores.push_back(cauchy(generator));
    std::sort(normal.begin(), normal.end());
    alarms += found(scores, conformal_threshold(scores, normal, 0.1)) > 0;
    // Of a single score the p-value itself is tested.
    below += found({scores[0]}, conformal_threshold({&scores[0], 1}, normal, 0.05)) > 0;
  }
  EXPECT_LE(alarms, 0.1 * trials + 3 * std::sqrt(0.09 * trials));
  EXPECT_LE(below, 0.05 * trials + 3 * std::sqrt(0.0475 * trials));
  EXPECT_GT(below, 0.05 * trials - 3 * std::sqrt(0.0475 * trials)) << "200 divides evenly: exactly 5 %";
}

TEST(Anomalous, MeansAboveTheThreshold) {
  std::vector<float> scores = {0.1f, 0.5f, 0.6f};
  EXPECT_EQ(anomalous(scores, 0.5), (std::vector<uint8_t>{0, 0, 1}));
}

}  // namespace
}  // namespace eelsvae
