#include "engine/thresholds.h"

#include <algorithm>
#include <array>
#include <cmath>

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

std::vector<uint8_t> anomalous(std::span<const float> scores, double threshold) {
  std::vector<uint8_t> mask(scores.size());
  for (size_t i = 0; i < scores.size(); ++i) mask[i] = static_cast<double>(scores[i]) > threshold;
  return mask;
}

}  // namespace eelsvae
