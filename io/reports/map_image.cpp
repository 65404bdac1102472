#include "io/reports/map_image.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "io/files/number_text.h"
#include "io/reports/axis_ticks.h"
#include "io/reports/stroke_font.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr Colour white = {255, 255, 255}, ink = {34, 34, 34}, no_value = {160, 160, 160};

// In image pixels.
constexpr int64_t margin = 16, colours_width = 18, tick_length = 6;
constexpr double text_height = 17;

// Nanometres per unit, or 0 for what is not a length.
double nanometres(const std::string& units) {
  if (units == "nm") return 1;
  if (units == "\u00b5m" || units == "\u03bcm" || units == "um" || units == "micron") return 1e3;
  if (units == "\u00c5" || units == "A" || units == "Angstrom" || units == "angstrom") return 0.1;
  if (units == "pm") return 1e-3;
  if (units == "mm") return 1e6;
  if (units == "m") return 1e9;
  return 0;
}

void draw_outline(MapImage& map, std::span<const uint8_t> mask, int64_t rows, int64_t columns) {
  const int64_t w = map.cell_width, h = map.cell_height;
  auto inside = [&](int64_t row, int64_t column) {
    return row >= 0 && column >= 0 && row < rows && column < columns && mask[row * columns + column] != 0;
  };
  // White first, so that no dark line is broken where two outlines meet. Small cells keep their colour whole.
  for (bool dark : {false, true}) {
    if (dark && std::min(w, h) < 4) break;
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        if (!inside(row, column)) continue;
        const int64_t left = map.left + column * w, top = map.top + row * h;
        const int64_t out = dark ? 0 : 1;  // one image pixel beyond the cell
        const Colour colour = dark ? ink : white;
        if (!inside(row - 1, column)) map.image.fill(left - out, top - out, w + 2 * out, 1, colour);
        if (!inside(row + 1, column)) map.image.fill(left - out, top + h - 1 + out, w + 2 * out, 1, colour);
        if (!inside(row, column - 1)) map.image.fill(left - out, top - out, 1, h + 2 * out, colour);
        if (!inside(row, column + 1)) map.image.fill(left + w - 1 + out, top - out, 1, h + 2 * out, colour);
      }
    }
  }
}

void draw_colour_bar(MapImage& map, int64_t left, int64_t height, const std::vector<Tick>& labels,
                     std::optional<double> threshold) {
  const auto [low, high] = map.limits;
  auto row_of = [&, low = low, high = high](double value) {
    return map.top + std::llround(static_cast<double>(height - 1) * (1 - (value - low) / (high - low)));
  };
  for (int64_t row = 0; row < height; ++row) {
    const double share = 1 - static_cast<double>(row) / static_cast<double>(height - 1);
    map.image.fill(left, map.top + row, colours_width, 1, viridis()[std::lround(255 * share)]);
  }
  if (threshold && *threshold >= low && *threshold <= high) {
    const int64_t row = row_of(*threshold);
    map.image.fill(left, row - 2, colours_width, 4, white);
    map.image.fill(left - 6, row - 1, colours_width + 6, 2, ink);
  }
  for (const Tick& tick : labels) {
    const int64_t row = row_of(tick.value);
    map.image.fill(left + colours_width, row, tick_length, 1, ink);
    draw_text(map.image, static_cast<double>(left + colours_width + tick_length + 4),
              static_cast<double>(row) + text_height / 2, text_height, tick.label, ink);
  }
}

}  // namespace

const std::array<Colour, 256>& viridis() {
  static const std::array<Colour, 256> palette = [] {
    // Entries 0, 17, 34 ... 255 of the original.
    constexpr std::array<Colour, 16> anchors = {{{68, 1, 84},
                                                 {72, 26, 108},
                                                 {71, 47, 125},
                                                 {65, 68, 135},
                                                 {57, 86, 140},
                                                 {49, 104, 142},
                                                 {42, 120, 142},
                                                 {35, 136, 142},
                                                 {31, 152, 139},
                                                 {34, 168, 132},
                                                 {53, 183, 121},
                                                 {84, 197, 104},
                                                 {122, 209, 81},
                                                 {165, 219, 54},
                                                 {210, 226, 27},
                                                 {253, 231, 37}}};
    std::array<Colour, 256> result{};
    for (size_t i = 0; i < 256; ++i) {
      const Colour &a = anchors[i / 17], &b = anchors[std::min<size_t>(i / 17 + 1, 15)];
      const double t = static_cast<double>(i % 17) / 17;
      for (size_t c = 0; c < 3; ++c)
        result[i][c] = static_cast<uint8_t>(std::lround(a[c] + t * (b[c] - a[c])));
    }
    return result;
  }();
  return palette;
}

std::array<double, 2> robust_limits(std::span<const float> values) {
  std::vector<float> finite;
  std::copy_if(values.begin(), values.end(), std::back_inserter(finite),
               [](float v) { return std::isfinite(v); });
  if (finite.empty()) return {0, 1};
  auto quantile = [&](double share) {
    auto position = finite.begin() + std::llround(share * static_cast<double>(finite.size() - 1));
    std::nth_element(finite.begin(), position, finite.end());
    return static_cast<double>(*position);
  };
  double low = quantile(0.005), high = quantile(0.995);
  if (!(low < high)) {
    low = quantile(0);
    high = quantile(1);
  }
  if (!(low < high)) {
    const double margin = low == 0 ? 0.5 : std::abs(low) / 2;
    low -= margin;
    high += margin;
  }
  return {low, high};
}

std::array<double, 2> map_limits(std::span<const float> values, std::span<const uint8_t> mask,
                                 std::optional<double> threshold) {
  auto [low, high] = robust_limits(values);
  if (threshold && *threshold > 3 * low - 2 * high && *threshold < 3 * high - 2 * low) {
    low = std::min(low, *threshold);
    high = std::max(high, *threshold);
  }
  std::vector<float> outlined;
  for (size_t i = 0; i < mask.size(); ++i) {
    if (mask[i] != 0 && std::isfinite(values[i])) outlined.push_back(values[i]);
  }
  if (!outlined.empty()) {
    const auto middle = outlined.begin() + static_cast<int64_t>(outlined.size() / 2);
    std::nth_element(outlined.begin(), middle, outlined.end());
    low = std::min<double>(low, *middle);
    high = std::max<double>(high, *middle);
  }
  return {low, high};
}

double pixel_aspect(const Axis& y, const Axis& x) {
  const double ratio = std::abs(y.scale / x.scale);
  return y.units == x.units && ratio >= 0.2 && ratio <= 5 ? ratio : 1;
}

ScaleBar scale_bar(const Axis& x) {
  double pixel_nm = std::abs(x.scale) * nanometres(x.units);
  const double target =
      static_cast<double>(std::max<int64_t>(x.size, 1)) * 0.3;  // so that 1-2-5 gives 0.12 to 0.3
  if (!(pixel_nm > 1e-9 && pixel_nm < 1e15)) {
    const double pixels = std::max(1.0, round_length(target));
    return {pixels, number_text(pixels) + " px"};
  }
  const double length = round_length(target * pixel_nm);
  const bool micrometres = length >= 1000;
  return {length / pixel_nm,
          micrometres ? number_text(length / 1000) + " \u00b5m" : number_text(length) + " nm"};
}

MapImage draw_map(std::span<const float> values, const Axis& y, const Axis& x, std::span<const uint8_t> mask,
                  const MapOptions& options) {
  const int64_t rows = y.size, columns = x.size;
  expect(rows > 0 && columns > 0 && static_cast<int64_t>(values.size()) == rows * columns,
         "a map's values do not match its axes");
  expect(mask.empty() || mask.size() == values.size(), "a map's mask does not match its axes");

  MapImage map;
  map.limits = options.limits.value_or(map_limits(values, mask, options.threshold));
  expect(map.limits[0] < map.limits[1], "a map's colour limits are an interval");

  // A cell is at most 64 image pixels, so that a handful of values is not a poster; a line scan is at least
  // 48 tall.
  const double aspect = pixel_aspect(y, x);
  const double cell = 720 / std::max(static_cast<double>(columns), static_cast<double>(rows) * aspect);
  map.cell_width = std::clamp<int64_t>(static_cast<int64_t>(cell), 1, 64);
  map.cell_height = std::clamp<int64_t>(std::llround(static_cast<double>(map.cell_width) * aspect), 1, 64);
  map.cell_height = std::max(map.cell_height, (48 + rows - 1) / rows);

  const int64_t map_width = columns * map.cell_width, map_height = rows * map.cell_height;
  const ScaleBar bar = scale_bar(x);
  const std::vector<Tick> labels =
      ticks(map.limits[0], map.limits[1], static_cast<int>(std::clamp<int64_t>(map_height / 60, 1, 6)));
  double label_width = 0;
  for (const Tick& tick : labels) label_width = std::max(label_width, text_width(tick.label, text_height));

  map.left = margin;
  map.top = margin;
  map.bar_length = std::max<int64_t>(1, std::llround(bar.pixels * static_cast<double>(map.cell_width)));
  map.bar_thickness = 6;
  map.bar_left = map.left;
  map.bar_top = map.top + map_height + 22;
  const int64_t colours_left = map.left + map_width + margin,
                bar_label_left = map.bar_left + map.bar_length + 10;
  map.image =
      Image(margin + std::max(colours_left + colours_width + tick_length + 4 + std::llround(label_width),
                              bar_label_left + std::llround(text_width(bar.label, text_height))),
            map.bar_top + 28, white);

  const auto [low, high] = map.limits;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      const double value = values[row * columns + column];
      const double share = std::clamp((value - low) / (high - low), 0.0, 1.0);
      map.image.fill(map.left + column * map.cell_width, map.top + row * map.cell_height, map.cell_width,
                     map.cell_height, std::isfinite(value) ? viridis()[std::lround(255 * share)] : no_value);
    }
  }
  if (!mask.empty()) draw_outline(map, mask, rows, columns);
  draw_colour_bar(map, colours_left, map_height, labels, options.threshold);

  map.image.fill(map.bar_left, map.bar_top, map.bar_length, map.bar_thickness, ink);
  draw_text(map.image, static_cast<double>(bar_label_left),
            static_cast<double>(map.bar_top + map.bar_thickness / 2) + text_height / 2, text_height,
            bar.label, ink);
  return map;
}

}  // namespace eelsvae
