#include "engine/detect/window_quantiles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace eelsvae {
namespace {

float one_quantile(const MapRows& map, int64_t y, int64_t x, int64_t reach_y, int64_t reach_x, double share) {
  std::vector<float> others;
  for (int64_t j = std::max<int64_t>(0, y - reach_y); j <= std::min(map.height - 1, y + reach_y); ++j)
    for (int64_t i = std::max<int64_t>(0, x - reach_x); i <= std::min(map.width - 1, x + reach_x); ++i)
      if ((j != y || i != x) &&
          (map.excluded.empty() || !map.excluded[static_cast<size_t>(j * map.width + i)]))
        others.push_back(map.values[static_cast<size_t>(j * map.width + i)]);
  const auto pixel = static_cast<size_t>(y * map.width + x);
  if (others.empty() || (!map.excluded.empty() && map.excluded[pixel])) return 0;
  std::ranges::sort(others);
  return others[static_cast<size_t>(std::lround(share * static_cast<double>(others.size() - 1)))];
}

void check(int64_t height, int64_t width, double excluded, int64_t reach_y, int64_t reach_x, double share) {
  std::mt19937 generator(static_cast<unsigned>(height * width + reach_y));
  std::vector<float> values;
  std::vector<uint8_t> mask;
  for (int64_t i = 0; i < height * width; ++i) {
    // Some values more than once.
    values.push_back(std::round(std::normal_distribution<float>(0, 30)(generator)) / 4);
    mask.push_back(std::bernoulli_distribution(excluded)(generator));
  }
  const MapRows map{height, width, values, excluded == 0 ? std::span<const uint8_t>() : mask};
  const int64_t first = height / 4, last = height;
  const std::vector<float> found = window_quantiles(map, first, last, reach_y, reach_x, share);
  ASSERT_EQ(std::ssize(found), (last - first) * width);
  for (int64_t y = first; y < last; ++y)
    for (int64_t x = 0; x < width; ++x)
      ASSERT_EQ(found[static_cast<size_t>((y - first) * width + x)],
                one_quantile(map, y, x, reach_y, reach_x, share))
          << y << ' ' << x;
}

TEST(WindowQuantiles, AreThoseOfSortedValues) {
  check(37, 300, 0, 4, 4, 0.5);
  check(37, 45, 0.3, 4, 4, 0.683);
  check(12, 300, 0.1, 0, 12, 0.5);
  check(9, 1, 0, 2, 2, 0.5);
  check(1, 1, 0, 4, 4, 0.5);  // no others
  check(5, 20, 1, 1, 1, 0.5);
}

TEST(WindowQuantiles, OfRectanglesLargerThanTheMap) {
  check(60, 60, 0.2, 40, 1000, 0.5);
}

}  // namespace
}  // namespace eelsvae
