#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "engine/image/spectrum_image.h"
#include "io/reports/png.h"

namespace eelsvae {

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

struct MapOptions {
  std::optional<std::array<double, 2>> limits;  // of the colours; map_limits if absent
  std::optional<double> threshold;              // marked on the colour bar
};

// A finished picture and where its parts lie in it, in image pixels.
struct MapImage {
  Image image;
  int64_t left = 0, top = 0;                                             // corner of map pixel (0, 0)
  int64_t cell_width = 1, cell_height = 1;                               // of one map pixel
  int64_t bar_left = 0, bar_top = 0, bar_length = 0, bar_thickness = 0;  // the scale bar
  std::array<double, 2> limits = {0, 1};                                 // of the colours
};

// Draws a (y, x) map of y.size * x.size values (NaN: grey) with a colour bar and, below it, a scale bar. Each
// value becomes a block of whole image pixels, the longer side 600 to 800 of them unless the map is larger or
// tiny. Where `mask` (y, x; empty: none) is not 0, a line runs along the pixels' border, dark inside and
// white outside.
MapImage draw_map(std::span<const float> values, const Axis& y, const Axis& x,
                  std::span<const uint8_t> mask = {}, const MapOptions& options = {});

}  // namespace eelsvae
