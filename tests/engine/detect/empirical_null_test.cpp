#include "engine/detect/empirical_null.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "engine/detect/thresholds.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using Family = EmpiricalNull::Family;
constexpr Family families[] = {Family::normal, Family::largest, Family::largest_normal};

EmpiricalNull null_of(Family family) {
  EmpiricalNull null;
  null.family = family;
  if (family == Family::normal) null.location = 2, null.scale = 0.5;
  if (family == Family::largest) null.location = 3, null.scale = 0.4;
  if (family == Family::largest_normal) null.location = 2 * std::log(500.0), null.scale = 2;
  return null;
}

// The score below which a share of the null lies, by bisection.
double quantile_of(const EmpiricalNull& null, double share) {
  double low = -100, high = 100;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (null.below(middle) < share ? low : high) = middle;
  }
  return high;
}

struct Scores {
  std::vector<float> values;
  std::vector<uint8_t> anomalous;
};

// Of which a share are anomalous, so much above the rest that they can be told from it.
Scores draw(Family family, size_t count, double anomalies, uint32_t seed) {
  const EmpiricalNull null = null_of(family);
  const double end = quantile_of(null, 1 - 1e-7);
  std::mt19937 generator(seed);
  std::uniform_real_distribution<double> uniform(1e-12, 1);
  Scores scores;
  for (size_t i = 0; i < count; ++i) {
    const bool anomalous = static_cast<double>(i) < anomalies * static_cast<double>(count);
    const double u = uniform(generator);
    double score = 0;
    if (anomalous) {
      score = end + 3 * u;
    } else if (family == Family::normal) {
      std::normal_distribution<double> normal(null.location, null.scale);
      score = normal(generator);
    } else {
      score = null.location - null.scale * std::log(-std::log(u));
      if (family == Family::largest_normal)
        score = std::pow(std::max(score, 0.0), 1 / EmpiricalNull::exponent);
    }
    scores.values.push_back(static_cast<float>(score));
    scores.anomalous.push_back(anomalous);
  }
  return scores;
}

TEST(EmpiricalNull, DensityAndPValueFollowFromTheDistribution) {
  for (Family family : families) {
    const EmpiricalNull null = null_of(family);
    for (double score = 0.5; score < 6; score += 0.25) {
      const double h = 1e-5;
      EXPECT_NEAR(null.density(score), (null.below(score + h) - null.below(score - h)) / (2 * h),
                  1e-6 * (1 + null.density(score)))
          << name(family) << " " << score;
      EXPECT_NEAR(null.below(score) + null.p_value(score), 1, 1e-12);
    }
    // Where 1 - F would be 0.
    const double p = null.p_value(12), further = null.p_value(13);
    EXPECT_LT(p, 1e-9);
    EXPECT_GT(p, further);
    EXPECT_GT(further, 0);
  }
  EXPECT_NEAR(null_of(Family::normal).p_value(2 + 0.5 * 1.959964), 0.025, 1e-6);
}

// exp(-n exp(-s^exponent / 2)) with n = 500.
TEST(EmpiricalNull, LargestNormalIsWhatSmoothedNoiseShows) {
  for (double s : {2.0, 3.5, 5.0})
    EXPECT_NEAR(null_of(Family::largest_normal).below(s),
                std::exp(-500 * std::exp(-std::pow(s, EmpiricalNull::exponent) / 2)), 1e-12);
}

TEST(EmpiricalNull, FindsFamilyParametersAndShare) {
  for (Family family : families)
    for (double anomalies : {0.0, 0.01, 0.1, 0.4}) {
      const Scores scores = draw(family, 20000, anomalies, 11);
      const EmpiricalNull found = fit_null(scores.values), truth = null_of(family);
      const std::string where = std::string(name(family)) + " " + std::to_string(anomalies);
      EXPECT_EQ(found.family, family) << where;
      EXPECT_NEAR(found.location, truth.location, 0.05 * truth.scale) << where;
      EXPECT_NEAR(found.scale, truth.scale, 0.06 * truth.scale) << where;
      EXPECT_NEAR(found.normal_share, 1 - anomalies, 0.02) << where;
      EXPECT_LT(found.misfit, 1.6) << where;
      const double p = found.p_value(quantile_of(truth, 1 - 1e-4));
      EXPECT_GT(p, 0.5e-4) << where;
      EXPECT_LT(p, 2e-4) << where;
    }
}

TEST(EmpiricalNull, LeavesPixelsOut) {
  Scores scores = draw(Family::largest, 5000, 0, 3);
  const EmpiricalNull alone = fit_null(scores.values);
  std::vector<uint8_t> left_out(scores.values.size());
  for (int i = 0; i < 100; ++i) {
    scores.values.push_back(std::numeric_limits<float>::quiet_NaN());
    left_out.push_back(1);
  }
  const EmpiricalNull found = fit_null(scores.values, left_out);
  EXPECT_EQ(found.location, alone.location);
  EXPECT_EQ(found.scale, alone.scale);
  EXPECT_EQ(found.normal_share, alone.normal_share);
}

TEST(EmpiricalNull, NegativeScoresAreNotSquared) {
  std::mt19937 generator(8);
  std::normal_distribution<float> normal;
  std::vector<float> scores;
  for (int i = 0; i < 5000; ++i) scores.push_back(normal(generator));
  EXPECT_EQ(fit_null(scores).family, Family::normal);
}

// None of the families; what is found must remain of some use.
TEST(EmpiricalNull, OfOtherDistributionsIsNotAllAnomalous) {
  std::mt19937 generator(5);
  std::exponential_distribution<float> exponential;
  std::student_t_distribution<float> student(5);
  for (size_t count : {600, 4096})
    for (bool heavy : {false, true})
      for (int seed = 0; seed < 10; ++seed) {
        std::vector<float> scores;
        for (size_t i = 0; i < count; ++i)
          scores.push_back(heavy ? student(generator) : exponential(generator));
        const EmpiricalNull null = fit_null(scores);
        const double threshold = fdr_threshold(scores, null, 0.05);
        const auto found =
            std::count_if(scores.begin(), scores.end(), [&](float s) { return s > threshold; });
        EXPECT_LT(static_cast<double>(found), 0.2 * static_cast<double>(count));
        const double median = null.below(quantile_of(null, 0.5));
        EXPECT_NEAR(median, 0.5, 1e-6);
      }
}

// Nearly everything in one bin, whatever the cut.
TEST(EmpiricalNull, OutliersFarAwayDoNotMatter) {
  for (size_t count : {200, 600, 5000}) {
    Scores scores = draw(Family::normal, count, 0, 17);
    const EmpiricalNull alone = fit_null(scores.values);
    for (size_t i = 0; i < count / 50 + 1; ++i) scores.values[i] = 1e6f * static_cast<float>(i + 1);
    const EmpiricalNull found = fit_null(scores.values);
    EXPECT_NEAR(quantile_of(found, 0.99), quantile_of(alone, 0.99), 0.35) << count;
  }
}

TEST(EmpiricalNull, NeedsScoresThatDiffer) {
  const Scores few = draw(Family::normal, 99, 0, 1);
  EXPECT_THROW(fit_null(few.values), UserError);
  EXPECT_THROW(fit_null(std::vector<float>(1000, 0.5f)), UserError);
  std::vector<float> nearly(1000, 0.5f);
  for (size_t i = 0; i < 100; ++i) nearly[i] = static_cast<float>(i);
  EXPECT_THROW(fit_null(nearly), UserError);
  std::vector<float> two_values(1000);
  for (size_t i = 0; i < 500; ++i) two_values[i] = 1;
  EXPECT_THROW(fit_null(two_values), UserError);
  std::vector<float> infinite = draw(Family::normal, 500, 0, 1).values;
  infinite[3] = std::numeric_limits<float>::infinity();
  EXPECT_THROW(fit_null(infinite), std::logic_error);
}

TEST(EmpiricalNull, ScoresWithTiesAreFitted) {
  Scores scores = draw(Family::normal, 5000, 0, 2);
  for (float& score : scores.values) score = std::round(score * 40) / 40;  // twenty steps to a scale
  const EmpiricalNull found = fit_null(scores.values);
  EXPECT_NEAR(found.below(2), 0.5, 0.05);
  EXPECT_NEAR(found.below(2.5), 0.841, 0.03);
}

// What is asked for is what is delivered: false among found, added up over images.
TEST(EmpiricalNull, DeliversTheFalseDiscoveryRate) {
  for (Family family : families)
    for (double anomalies : {0.02, 0.1, 0.4})
      for (double rate : {0.01, 0.05, 0.1}) {
        double found = 0, wrong = 0;
        for (uint32_t seed = 0; seed < 40; ++seed) {
          const Scores scores = draw(family, 2500, anomalies, 100 + seed);
          const double threshold = fdr_threshold(scores.values, fit_null(scores.values), rate);
          for (size_t i = 0; i < scores.values.size(); ++i)
            if (static_cast<double>(scores.values[i]) > threshold) {
              ++found;
              wrong += !scores.anomalous[i];
            }
        }
        const double delivered = wrong / found, sigma = std::sqrt(rate * (1 - rate) / found);
        EXPECT_GE(found, 40 * 2500 * anomalies) << "anomalies that stand out are all found";
        EXPECT_LT(delivered, rate + 3 * sigma + 0.1 * rate)
            << name(family) << " " << anomalies << " " << rate;
        EXPECT_GT(delivered, 0.8 * rate - 3 * sigma) << name(family) << " " << anomalies << " " << rate;
      }
}

TEST(EmpiricalNull, FindsNextToNothingWhereThereIsNothing) {
  for (Family family : families) {
    int alarms = 0;
    for (uint32_t seed = 0; seed < 40; ++seed) {
      const Scores scores = draw(family, 2500, 0, 500 + seed);
      const double threshold = fdr_threshold(scores.values, fit_null(scores.values), 0.05);
      alarms += std::any_of(scores.values.begin(), scores.values.end(),
                            [&](float s) { return static_cast<double>(s) > threshold; });
    }
    // Without anomalies the false-discovery rate is the probability of any alarm, 2 in 40.
    EXPECT_LE(alarms, 7) << name(family);
  }
}

}  // namespace
}  // namespace eelsvae
