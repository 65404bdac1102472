#include "engine/detect/surroundings.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr int64_t line_reach = 12;                    // pixels to either side
constexpr float departs_by = 3, alike_within = 1.5f;  // spreads
constexpr int64_t least_beside = 3;                   // of the eight next to it
constexpr double least_alike = 0.2;  // of the square: 16 of 80, more than a disc of two pixels' radius

// The value below which a share of the values lie; they are reordered. 0 of nothing.
float quantile(std::vector<float>& values, double share) {
  if (values.empty()) return 0;
  const auto at =
      values.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace

Foretold foretell(std::span<const float> map, int64_t height, int64_t width, int64_t side,
                  std::span<const uint8_t> excluded) {
  expect(std::ssize(map) == height * width, "a map of another size");
  expect(side >= 1 && side % 2 == 1, "the surroundings' side must be odd");
  auto counts = [&](int64_t pixel) { return excluded.empty() || !excluded[static_cast<size_t>(pixel)]; };
  // The pixels (j, i) of the rectangle around (y, x), without itself and without excluded ones.
  auto for_others = [&](int64_t y, int64_t x, int64_t reach_y, int64_t reach_x, auto&& use) {
    for (int64_t j = std::max<int64_t>(0, y - reach_y); j <= std::min(height - 1, y + reach_y); ++j)
      for (int64_t i = std::max<int64_t>(0, x - reach_x); i <= std::min(width - 1, x + reach_x); ++i)
        if ((j != y || i != x) && counts(j * width + i)) use(j, i);
  };
  // For every pixel a quantile of `value` over the rectangle around it, without itself.
  auto around = [&](int64_t reach_y, int64_t reach_x, double share, auto&& value, std::vector<float>& out) {
#pragma omp parallel
    {
      std::vector<float> others;
#pragma omp for schedule(static)
      for (int64_t y = 0; y < height; ++y)
        for (int64_t x = 0; x < width; ++x) {
          const int64_t pixel = y * width + x;
          if (!counts(pixel)) continue;
          others.clear();
          for_others(y, x, reach_y, reach_x,
                     [&](int64_t j, int64_t i) { others.push_back(value(j * width + i)); });
          out[static_cast<size_t>(pixel)] = quantile(others, share);
        }
    }
  };
  const int64_t reach = side / 2;
  std::vector<float> square(map.size()), line(map.size());
  Foretold result{std::vector<float>(map.size()), std::vector<float>(map.size())};
  auto at = [](const auto& values, int64_t pixel) { return values[static_cast<size_t>(pixel)]; };
  around(
      reach, reach, 0.5, [&](int64_t p) { return at(map, p); }, square);
  around(
      0, line_reach, 0.5, [&](int64_t p) { return at(map, p) - at(square, p); }, line);
  for (size_t p = 0; p < map.size(); ++p) result.value[p] = square[p] + line[p];
  auto spread = [&] {
    around(
        reach, reach, 0.683, [&](int64_t p) { return std::abs(at(map, p) - at(result.value, p)); },
        result.spread);
  };
  spread();
  // At a border the median is that of the side which fills more of the square.
  const std::vector<float> foretold = result.value;
  int64_t at_borders = 0;
#pragma omp parallel reduction(+ : at_borders)
  {
    std::vector<float> alike;
#pragma omp for schedule(static)
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < width; ++x) {
        const int64_t pixel = y * width + x;
        const float own = at(map, pixel), unit = at(result.spread, pixel);
        if (!counts(pixel) || std::abs(own - at(foretold, pixel)) <= departs_by * unit) continue;
        alike.clear();
        int64_t others = 0, beside = 0;
        for_others(y, x, reach, reach, [&](int64_t j, int64_t i) {
          ++others;
          const float other = at(map, j * width + i);
          if (std::abs(other - own) > alike_within * unit) return;
          alike.push_back(other);
          beside += std::abs(j - y) <= 1 && std::abs(i - x) <= 1;
        });
        if (beside < least_beside ||
            static_cast<double>(alike.size()) < least_alike * static_cast<double>(others))
          continue;
        result.value[static_cast<size_t>(pixel)] = quantile(alike, 0.5);
        ++at_borders;
      }
  }
  if (at_borders > 0) spread();
  return result;
}

}  // namespace eelsvae
