#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace eelsvae {

// How well scores find the pixels that are anomalous in truth.
struct DetectionMetrics {
  int64_t true_positives = 0, false_positives = 0, false_negatives = 0, true_negatives = 0;
  // At the threshold; 0 where a denominator is 0.
  double precision = 0, recall = 0, f1 = 0;
  // Over all thresholds. Absent where truth holds one class only (average precision: no anomalous pixel).
  std::optional<double> roc_auc, average_precision;
};

// truth: nonzero where anomalous. A pixel is found where its score is above the threshold. left_out: pixels
// that do not count (nonzero), or empty; all others have finite scores.
//   ROC-AUC: probability that an anomalous pixel scores higher than a normal one, ties counting half
//            (Mann-Whitney U / (positives * negatives))
//   average precision: sum over distinct scores, descending, of (recall gained) * precision, as in sklearn
DetectionMetrics detection_metrics(std::span<const float> scores, std::span<const uint8_t> truth,
                                   double threshold, std::span<const uint8_t> left_out = {});

}  // namespace eelsvae
