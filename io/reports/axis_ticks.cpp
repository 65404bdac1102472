#include "io/reports/axis_ticks.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace eelsvae {

double round_length(double value) {
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  for (double factor : {5.0, 2.0}) {
    // A hair of slack: log10 and pow round.
    if (factor * power <= value * (1 + 1e-12)) return factor * power;
  }
  return power;
}

std::vector<Tick> ticks(double low, double high, int at_most) {
  double step = round_length((high - low) / at_most);
  while (std::floor(high / step) - std::ceil(low / step) > at_most) step = round_length(step * 2.6);
  const bool plain = step >= 1e-5 && std::max(std::abs(low), std::abs(high)) < 1e6;
  const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  const int steps = static_cast<int>(std::floor(high / step) - std::ceil(low / step));
  std::vector<Tick> result;
  for (int i = 0; i <= steps; ++i) {
    const double value = (std::ceil(low / step) + i) * step;
    char text[64];
    auto end = plain ? std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, decimals)
                     : std::to_chars(text, text + sizeof text, value, std::chars_format::general, 4);
    result.push_back({value, {text, end.ptr}});
  }
  return result;
}

}  // namespace eelsvae
