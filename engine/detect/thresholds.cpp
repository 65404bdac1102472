#include "engine/detect/thresholds.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/error.h"

namespace eelsvae {

double otsu_threshold(std::span<const float> scores, std::span<const uint8_t> left_out) {
  expect(left_out.empty() || left_out.size() == scores.size(), "mask of another size than the scores");
  std::vector<double> fitted;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!left_out.empty() && left_out[i]) continue;
    expect(std::isfinite(scores[i]), "a score that is not finite");
    fitted.push_back(static_cast<double>(scores[i]));
  }
  if (fitted.empty()) throw UserError("every pixel is left out, so there is none to find a threshold from");

  const auto [low_at, high_at] = std::minmax_element(fitted.begin(), fitted.end());
  const double low = *low_at, range = *high_at - low;
  if (range == 0) return low;

  constexpr size_t bins = 256;
  auto centre = [](size_t bin) { return (static_cast<double>(bin) + 0.5) / bins; };
  std::array<double, bins> histogram{};
  for (double score : fitted)
    ++histogram[std::min(bins - 1, static_cast<size_t>((score - low) / range * bins))];

  double total = 0, total_moment = 0;
  for (size_t bin = 0; bin < bins; ++bin) {
    total += histogram[bin];
    total_moment += histogram[bin] * centre(bin);
  }
  double lower = 0, lower_moment = 0, best = -1;
  size_t best_bin = 0;
  for (size_t bin = 0; bin + 1 < bins; ++bin) {
    lower += histogram[bin];
    lower_moment += histogram[bin] * centre(bin);
    const double upper =
        total - lower;  // both classes hold a pixel: the first bin has the lowest, the last the highest
    const double difference = lower_moment / lower - (total_moment - lower_moment) / upper;
    const double merit = lower * upper * difference * difference * std::pow(centre(bin), 0.95);
    if (merit > best) {
      best = merit;
      best_bin = bin;
    }
  }
  return low + centre(best_bin) * range;
}

namespace {

// Benjamini and Hochberg's step-up on the scores, highest first; p: of a score.
template <typename PValue>
double step_up_threshold(std::span<const float> scores, std::span<const uint8_t> left_out, double rate,
                         double normal_share, PValue&& p) {
  expect(left_out.empty() || left_out.size() == scores.size(), "mask of another size than the scores");
  std::vector<double> sorted;
  for (size_t i = 0; i < scores.size(); ++i)
    if (left_out.empty() || !left_out[i]) sorted.push_back(static_cast<double>(scores[i]));
  if (sorted.empty()) throw UserError("every pixel is left out, so there is none to find a threshold from");
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  const double allowed = rate / (static_cast<double>(sorted.size()) * normal_share);
  size_t found = 0;
  for (size_t i = 0; i < sorted.size(); ++i)
    if (p(sorted[i]) <= allowed * static_cast<double>(i + 1)) found = i + 1;
  if (found > 0 && found < sorted.size()) {
    // Scores equal to the last one found have its p-value, so the next is lower.
    return (sorted[found - 1] + sorted[found]) / 2;
  }
  if (found == sorted.size())
    return std::nextafter(static_cast<float>(sorted.back()), -std::numeric_limits<float>::infinity());
  // What would be found alone, by bisection; p falls with the score.
  double low = sorted.front(), high = low + 1;
  for (int doubling = 0; doubling < 60 && p(high) > allowed; ++doubling) high = low + 2 * (high - low);
  if (p(high) > allowed) return low;
  for (int halving = 0; halving < 60; ++halving) {
    const double middle = (low + high) / 2;
    (p(middle) > allowed ? low : high) = middle;
  }
  return high;
}

}  // namespace

double fdr_threshold(std::span<const float> scores, const EmpiricalNull& null, double rate,
                     std::span<const uint8_t> left_out) {
  return step_up_threshold(scores, left_out, rate, null.normal_share,
                           [&](double score) { return null.p_value(score); });
}

double conformal_threshold(std::span<const float> scores, std::span<const float> normal, double rate,
                           std::span<const uint8_t> left_out) {
  if (normal.empty())
    throw UserError(
        "detection.threshold_method=conformal needs scores of spectra that were held out of training; there "
        "are none (training.validation_fraction)");
  const auto count = static_cast<double>(normal.size());
  return step_up_threshold(scores, left_out, rate, 1, [&](double score) {
    const auto above =
        normal.end() - std::lower_bound(normal.begin(), normal.end(), score,
                                        [](float a, double b) { return static_cast<double>(a) < b; });
    return (1 + static_cast<double>(above)) / (1 + count);
  });
}

std::vector<uint8_t> anomalous(std::span<const float> scores, double threshold) {
  std::vector<uint8_t> mask(scores.size());
  for (size_t i = 0; i < scores.size(); ++i) mask[i] = static_cast<double>(scores[i]) > threshold;
  return mask;
}

}  // namespace eelsvae
