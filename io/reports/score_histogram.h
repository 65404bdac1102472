#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "engine/detect/detection.h"

namespace eelsvae {

// Counts of scores over equal bins.
struct ScoreHistogram {
  double low = 0, high = 1;     // the bins' outer edges
  std::vector<int64_t> counts;  // 80
  int64_t beyond = 0;           // scores above `high`, which the last bin counts
  // What the null expects of normal spectra: (score, spectra per bin), scores ascending; empty without a
  // null.
  std::vector<std::pair<double, double>> null;
};

// Of the finite scores, over the colours of their map and some more. A few far outliers do not flatten the
// rest: what lies beyond the last bin is counted in it.
ScoreHistogram score_histogram(const Detection& found);

}  // namespace eelsvae
