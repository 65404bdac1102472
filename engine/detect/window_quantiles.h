#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace eelsvae {

// Rows of a map (y, x), and which of its pixels do not take part (nonzero; empty: all do).
struct MapRows {
  int64_t height, width;
  std::span<const float> values;  // finite
  std::span<const uint8_t> excluded;
};

// For each pixel of rows [first, last) of a map: of the other pixels in the rectangle that reaches so far to
// both sides of it, as far as the map goes, the value below which a share of them lie: of n, the one of rank
// round(share (n - 1)) from the smallest, 0. (y, x); 0 where a pixel is excluded or has no others.
std::vector<float> window_quantiles(const MapRows& map, int64_t first, int64_t last, int64_t reach_y,
                                    int64_t reach_x, double share);

}  // namespace eelsvae
