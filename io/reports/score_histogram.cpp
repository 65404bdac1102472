#include "io/reports/score_histogram.h"

#include <algorithm>
#include <cmath>

#include "io/reports/embedded_arrays.h"
#include "io/reports/map_style.h"

namespace eelsvae {

ScoreHistogram score_histogram(const Detection& found) {
  const auto [least, greatest] = finite_range(found.scores);
  const std::array<double, 2> limits = map_limits(found.scores, found.mask, found.threshold);
  const double reach = limits[1] - limits[0];
  ScoreHistogram result;
  result.low = std::max<double>(least, limits[0] - reach);
  result.high = std::max(limits[1], std::min<double>(greatest, limits[1] + 2 * reach));
  if (!(result.high > result.low)) result.high = result.low + reach;
  result.counts.assign(80, 0);
  const auto bins = static_cast<double>(result.counts.size());
  int64_t scored = 0;
  for (float score : found.scores) {
    scored += !std::isnan(score);
    if (!std::isfinite(score)) continue;
    const double share = std::clamp((score - result.low) / (result.high - result.low), 0.0, 1.0);
    ++result.counts[std::min(result.counts.size() - 1, static_cast<size_t>(share * bins))];
    result.beyond += score > result.high;
  }
  if (found.null) {
    constexpr int points = 400;
    const double width = result.high - result.low,
                 spectra = static_cast<double>(scored) * found.null->normal_share;
    for (int i = 0; i <= points; ++i) {
      const double score = result.low + width * i / points;
      result.null.emplace_back(score, spectra * found.null->density(score) * width / bins);
    }
  }
  return result;
}

}  // namespace eelsvae
