#include "io/reports/score_histogram.h"

#include <algorithm>
#include <cmath>

#include "io/reports/embedded_arrays.h"

namespace eelsvae {

ScoreHistogram score_histogram(std::span<const float> scores, std::array<double, 2> limits) {
  const auto [least, greatest] = finite_range(scores);
  const double reach = limits[1] - limits[0];
  ScoreHistogram result;
  result.low = std::max<double>(least, limits[0] - reach);
  result.high = std::max(limits[1], std::min<double>(greatest, limits[1] + 2 * reach));
  if (!(result.high > result.low)) result.high = result.low + reach;
  result.counts.assign(80, 0);
  const auto bins = static_cast<double>(result.counts.size());
  for (float score : scores) {
    if (!std::isfinite(score)) continue;
    const double share = std::clamp((score - result.low) / (result.high - result.low), 0.0, 1.0);
    ++result.counts[std::min(result.counts.size() - 1, static_cast<size_t>(share * bins))];
    result.beyond += score > result.high;
  }
  return result;
}

std::vector<std::pair<double, double>> null_curve(const Detection& found) {
  std::vector<std::pair<double, double>> curve;
  if (!found.null) return curve;
  std::vector<float> scores = found.scores;
  std::erase_if(scores, [](float score) { return std::isnan(score); });
  const auto [least, greatest] = std::minmax_element(scores.begin(), scores.end());
  const double low = *least, reach = *greatest - low;
  const double spectra = static_cast<double>(scores.size()) * found.null->normal_share;
  constexpr int points = 400;
  for (int i = 0; i <= points; ++i) {
    const double score = low + reach * i / points;
    curve.emplace_back(score, spectra * found.null->density(score));
  }
  return curve;
}

std::vector<std::pair<double, double>> null_per_bin(
    const ScoreHistogram& histogram, const std::vector<std::pair<double, double>>& null_curve) {
  std::vector<std::pair<double, double>> result;
  for (const auto& [score, density] : null_curve) {
    const double count = density * histogram.bin_width();
    if (score >= histogram.low && score <= histogram.high && std::isfinite(count) && count >= 0)
      result.emplace_back(score, count);
  }
  return result;
}

}  // namespace eelsvae
