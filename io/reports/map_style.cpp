#include "io/reports/map_style.h"

#include <algorithm>
#include <cmath>

#include "engine/image/units.h"
#include "io/files/number_text.h"

namespace eelsvae {
namespace {

// The largest of 1, 2 and 5 times a power of ten that does not exceed a positive value.
double round_length(double value) {
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  for (double factor : {5.0, 2.0}) {
    // A hair of slack: log10 and pow round.
    if (factor * power <= value * (1 + 1e-12)) return factor * power;
  }
  return power;
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
  double pixel_nm = std::abs(x.scale) * nanometres(x.units).value_or(0);
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

std::vector<double> round_values(std::array<double, 2> interval, int at_most) {
  const auto [low, high] = interval;
  double step = round_length((high - low) / at_most);
  while (std::floor(high / step) - std::ceil(low / step) > at_most) step = round_length(step * 2.6);
  std::vector<double> values;
  for (double i = std::ceil(low / step); i <= std::floor(high / step); ++i) values.push_back(i * step);
  return values;
}

}  // namespace eelsvae
