#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// How maps are shown, in a report and in pictures.

using Colour = std::array<uint8_t, 3>;  // red, green, blue, sRGB

// Matplotlib's "viridis" (S. van der Walt, N. Smith; CC0), legible with every common colour blindness and in
// grey, to within 7/255 of the original.
const std::array<Colour, 256>& viridis();

// Where to cut the colours of a map: the 0.5th and 99.5th percentile of the finite values, so that single hot
// pixels do not darken the rest; the extremes where those coincide; never an empty interval.
std::array<double, 2> robust_limits(std::span<const float> values);

// Those limits, widened to hold the threshold and the median of what it leaves outlined (`mask` not 0; may be
// empty): a handful of anomalies lies beyond any percentile. A threshold far off is left outside.
std::array<double, 2> map_limits(std::span<const float> values, std::span<const uint8_t> mask,
                                 std::optional<double> threshold);

// Height of a map's pixel over its width: from the axes where both have the same units and a plausible ratio
// (1/5 to 5), else 1.
double pixel_aspect(const Axis& y, const Axis& x);

// A scale bar of a round length, about a quarter of the map.
struct ScaleBar {
  double pixels;      // length in pixels of the map
  std::string label;  // "20 nm"; "20 px" where the axis has no length units
};
ScaleBar scale_bar(const Axis& x);

// Round values in an interval, at most `at_most` + 1 of them.
std::vector<double> round_values(std::array<double, 2> interval, int at_most);

}  // namespace eelsvae
