#include "engine/detect/metrics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/error.h"

namespace eelsvae {
namespace {

double ratio(double numerator, double denominator) {
  return denominator > 0 ? numerator / denominator : 0;
}

}  // namespace

DetectionMetrics detection_metrics(std::span<const float> scores, std::span<const uint8_t> truth,
                                   double threshold, std::span<const uint8_t> left_out) {
  expect(scores.size() == truth.size(), "truth of another size than the scores");
  expect(left_out.empty() || left_out.size() == scores.size(), "mask of another size than the scores");
  std::vector<size_t> order;
  for (size_t i = 0; i < scores.size(); ++i)
    if (left_out.empty() || !left_out[i]) order.push_back(i);
  DetectionMetrics m;
  for (size_t i : order) {
    expect(std::isfinite(scores[i]), "a score that is not finite");
    const bool found = static_cast<double>(scores[i]) > threshold;
    if (truth[i])
      ++(found ? m.true_positives : m.false_negatives);
    else
      ++(found ? m.false_positives : m.true_negatives);
  }
  const auto hits = static_cast<double>(m.true_positives);
  const auto positives = static_cast<double>(m.true_positives + m.false_negatives);
  const auto negatives = static_cast<double>(m.false_positives + m.true_negatives);
  m.precision = ratio(hits, hits + static_cast<double>(m.false_positives));
  m.recall = ratio(hits, positives);
  m.f1 = ratio(2 * m.precision * m.recall, m.precision + m.recall);
  if (positives == 0) return m;

  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  double seen_positives = 0, seen_negatives = 0, wins = 0, average_precision = 0;
  for (size_t begin = 0; begin < order.size();) {
    double tied_positives = 0, tied_negatives = 0;
    size_t end = begin;
    for (; end < order.size() && scores[order[end]] == scores[order[begin]]; ++end)
      ++(truth[order[end]] ? tied_positives : tied_negatives);
    wins += tied_negatives * (seen_positives + 0.5 * tied_positives);
    seen_positives += tied_positives;
    seen_negatives += tied_negatives;
    average_precision += tied_positives / positives * seen_positives / (seen_positives + seen_negatives);
    begin = end;
  }
  m.average_precision = average_precision;
  if (negatives > 0) m.roc_auc = wins / (positives * negatives);
  return m;
}

}  // namespace eelsvae
