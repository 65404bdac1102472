#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace eelsvae {

// How well scores rank anomalous pixels above normal ones, over all thresholds. Another measure is a field
// and a line here and its value in detection_metrics(): summaries, reports and studies go through the list.
template <typename T>
struct RankingMeasures {
  T roc_auc{}, average_precision{};
};
template <typename T>
struct RankingMeasure {
  const char *key, *heading;  // in JSON and in tables
  T RankingMeasures<T>::*value;
};
template <typename T>
inline constexpr RankingMeasure<T> ranking_measures[] = {
    {"average_precision", "average precision", &RankingMeasures<T>::average_precision},
    {"roc_auc", "ROC-AUC", &RankingMeasures<T>::roc_auc}};

// How well scores find the pixels that are anomalous in truth. The measures of ranking are absent where truth
// holds one class only (average precision: no anomalous pixel).
struct DetectionMetrics : RankingMeasures<std::optional<double>> {
  int64_t true_positives = 0, false_positives = 0, false_negatives = 0, true_negatives = 0;
  // At the threshold; 0 where a denominator is 0.
  double precision = 0, recall = 0, f1 = 0;
};

// truth: nonzero where anomalous. A pixel is found where its score is above the threshold. left_out: pixels
// that do not count (nonzero), or empty; all others have finite scores.
//   ROC-AUC: probability that an anomalous pixel scores higher than a normal one, ties counting half
//            (Mann-Whitney U / (positives * negatives))
//   average precision: sum over distinct scores, descending, of (recall gained) * precision, as in sklearn
DetectionMetrics detection_metrics(std::span<const float> scores, std::span<const uint8_t> truth,
                                   double threshold, std::span<const uint8_t> left_out = {});

}  // namespace eelsvae
