#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "io/reports/png.h"

namespace eelsvae {

struct HistogramOptions {
  std::optional<double> threshold;
  // (score, expected number of normal spectra per unit of score), scores ascending; empty: none is drawn
  std::vector<std::pair<double, double>> null_curve;
};

// A finished picture and where its parts lie in it, in image pixels.
struct HistogramImage {
  Image image;
  int64_t left = 0, top = 0, width = 0, height = 0;  // of the plot
  double low = 0, high = 1;                          // scores at its left and right edge
  double least = 0, most = 0;                        // spectra per bin at its bottom and top; logarithmic

  int64_t column_of(double score) const;
  int64_t row_of(double spectra) const;
};

// Draws the distribution of the finite scores, counts on a logarithmic axis: bars above the threshold in
// another colour, a line at the threshold, and what the null expects of normal spectra. `mask` as for
// map_limits.
HistogramImage draw_histogram(std::span<const float> scores, std::span<const uint8_t> mask = {},
                              const HistogramOptions& options = {});

}  // namespace eelsvae
