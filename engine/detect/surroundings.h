#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace eelsvae {

// A map (y, x) split into what its surroundings foretell and what is a pixel's own.
struct Foretold {
  std::vector<float> value;   // what the surroundings make of the pixel
  std::vector<float> spread;  // standard deviation of (map - value) around the pixel
};

// Foretells each pixel from the others in the square of `side` pixels around it, as far as the image goes:
// their median, to which the median of what is left over in the same scan line within 12 pixels is added,
// because drift and stripes belong to a line. A pixel that departs from that, but has its like in a fifth of
// the square and in three of the eight pixels next to it, lies at a border between materials: its like
// foretell it. The pixel itself takes no part, nor do excluded ones (nonzero), and up to half of the others
// may be anomalous as long as they are scattered. The spread is the 68.3 % quantile of |map - value| in the
// same square. Both are 0 where a pixel is excluded or has no neighbour.
Foretold foretell(std::span<const float> map, int64_t height, int64_t width, int64_t side,
                  std::span<const uint8_t> excluded);

}  // namespace eelsvae
