#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/detect/detection.h"

namespace eelsvae {

// Counts of scores over equal bins.
struct ScoreHistogram {
  double low = 0, high = 1;     // the bins' outer edges
  std::vector<int64_t> counts;  // 80
  int64_t beyond = 0;           // scores above `high`, which the last bin counts

  double bin_width() const { return (high - low) / static_cast<double>(counts.size()); }
};

// Of the finite scores; `limits` are those of their map. A few far outliers do not flatten the rest: what
// lies beyond the last bin is counted in it.
ScoreHistogram score_histogram(std::span<const float> scores, std::array<double, 2> limits);

// What the null expects of normal spectra, over the range of the scores; empty without a null.
std::vector<std::pair<double, double>> null_curve(const Detection& found);

// The part of a null curve, (score, number of spectra per unit of score), that lies in the histogram, as
// (score, number of spectra per bin).
std::vector<std::pair<double, double>> null_per_bin(const ScoreHistogram& histogram,
                                                    const std::vector<std::pair<double, double>>& null_curve);

}  // namespace eelsvae
