#include "engine/detect/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace eelsvae {
namespace {

TEST(DetectionMetrics, OfASmallCaseByHand) {
  // Descending: 0.9 T, 0.8 F, 0.7 T, 0.4 F, 0.3 T, 0.1 F.
  std::vector<float> scores = {0.1f, 0.9f, 0.4f, 0.8f, 0.7f, 0.3f};
  std::vector<uint8_t> truth = {0, 1, 0, 0, 1, 1};
  DetectionMetrics m = detection_metrics(scores, truth, 0.45);
  EXPECT_EQ(m.true_positives, 2);
  EXPECT_EQ(m.false_positives, 1);
  EXPECT_EQ(m.false_negatives, 1);
  EXPECT_EQ(m.true_negatives, 2);
  EXPECT_DOUBLE_EQ(m.precision, 2.0 / 3);
  EXPECT_DOUBLE_EQ(m.recall, 2.0 / 3);
  EXPECT_DOUBLE_EQ(m.f1, 2.0 / 3);
  EXPECT_DOUBLE_EQ(*m.roc_auc, (3 + 2 + 1) / 9.0);
  EXPECT_DOUBLE_EQ(*m.average_precision, (1.0 + 2.0 / 3 + 3.0 / 5) / 3);
}

TEST(DetectionMetrics, CountTiesHalf) {
  std::vector<float> scores = {2, 1, 1, 1};
  std::vector<uint8_t> truth = {1, 1, 0, 0};
  DetectionMetrics m = detection_metrics(scores, truth, 1.5);
  EXPECT_DOUBLE_EQ(*m.roc_auc, (2 + 0.5 + 0.5) / 4);
  EXPECT_DOUBLE_EQ(*m.average_precision, 0.5 * 1 + 0.5 * 0.5);
  std::vector<float> equal(4, 1.0f);
  EXPECT_DOUBLE_EQ(*detection_metrics(equal, truth, 0).roc_auc, 0.5);
  EXPECT_DOUBLE_EQ(*detection_metrics(equal, truth, 0).average_precision, 0.5);
}

TEST(DetectionMetrics, AreThePairwiseDefinition) {
  std::mt19937 generator(4);
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<float> scores;
    std::vector<uint8_t> truth;
    for (int i = 0; i < 200; ++i) {
      truth.push_back(generator() % 5 == 0);
      scores.push_back(static_cast<float>(generator() % 30 + 5u * truth.back()));
    }
    double wins = 0, pairs = 0;
    for (size_t a = 0; a < 200; ++a)
      for (size_t b = 0; b < 200; ++b)
        if (truth[a] && !truth[b]) {
          wins += scores[a] > scores[b] ? 1 : scores[a] == scores[b] ? 0.5 : 0;
          ++pairs;
        }
    double average_precision = 0, recall_before = 0;
    for (int threshold = 40; threshold >= 0; --threshold) {
      DetectionMetrics at = detection_metrics(scores, truth, threshold - 0.5);
      average_precision += (at.recall - recall_before) * at.precision;
      recall_before = at.recall;
    }
    DetectionMetrics m = detection_metrics(scores, truth, 0);
    EXPECT_NEAR(*m.roc_auc, wins / pairs, 1e-12);
    EXPECT_NEAR(*m.average_precision, average_precision, 1e-12);
  }
}

TEST(DetectionMetrics, LeavePixelsOut) {
  const float none = std::nanf("");
  std::vector<float> scores = {none, 0.1f, 0.9f, 0.4f, none, 0.8f, 0.7f, 0.3f};
  std::vector<uint8_t> truth = {1, 0, 1, 0, 0, 0, 1, 1}, left_out = {1, 0, 0, 0, 1, 0, 0, 0};
  DetectionMetrics m = detection_metrics(scores, truth, 0.45, left_out);
  EXPECT_EQ(m.true_positives, 2);
  EXPECT_EQ(m.false_positives, 1);
  EXPECT_EQ(m.false_negatives, 1);
  EXPECT_EQ(m.true_negatives, 2);
  EXPECT_DOUBLE_EQ(*m.roc_auc, (3 + 2 + 1) / 9.0);
  EXPECT_DOUBLE_EQ(*m.average_precision, (1.0 + 2.0 / 3 + 3.0 / 5) / 3);
  left_out[4] = 0;
  EXPECT_THROW(detection_metrics(scores, truth, 0.45, left_out), std::logic_error);
}

TEST(DetectionMetrics, OfOneClass) {
  std::vector<float> scores = {1, 2};
  std::vector<uint8_t> none = {0, 0}, all = {1, 1};
  DetectionMetrics m = detection_metrics(scores, none, 5);
  EXPECT_EQ(m.f1, 0);
  EXPECT_EQ(m.precision, 0);
  EXPECT_EQ(m.recall, 0);
  EXPECT_FALSE(m.roc_auc);
  EXPECT_FALSE(m.average_precision);
  m = detection_metrics(scores, all, 0);
  EXPECT_EQ(m.f1, 1);
  EXPECT_FALSE(m.roc_auc);
  EXPECT_EQ(*m.average_precision, 1);
}

}  // namespace
}  // namespace eelsvae
