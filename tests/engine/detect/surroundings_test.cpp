#include "engine/detect/surroundings.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <limits>
#include <random>

namespace eelsvae {
namespace {

constexpr int64_t height = 40, width = 50;

// A composition that rises along x, scan lines that drift, and noise of standard deviation 0.1.
std::vector<float> specimen() {
  std::mt19937 generator(4);
  std::normal_distribution<float> normal;
  std::vector<float> map, drift;
  for (int64_t y = 0; y < height; ++y) drift.push_back(normal(generator));
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      map.push_back(0.2f * static_cast<float>(x) + drift[static_cast<size_t>(y)] + 0.1f * normal(generator));
  return map;
}

TEST(Foretell, FollowsGradientsAndScanLines) {
  const std::vector<float> map = specimen();
  const Foretold foretold = foretell(map, height, width, 9, {});
  double squares = 0, spread = 0;
  int64_t inside = 0;
  for (int64_t y = 4; y < height - 4; ++y)
    for (int64_t x = 4; x < width - 4; ++x, ++inside) {
      const auto pixel = static_cast<size_t>(y * width + x);
      squares += std::pow(static_cast<double>(map[pixel] - foretold.value[pixel]), 2);
      spread += static_cast<double>(foretold.spread[pixel]);
    }
  // Scan lines differ by 1, the composition changes by 1.6 within the square.
  EXPECT_LT(std::sqrt(squares / static_cast<double>(inside)), 0.3);
  EXPECT_NEAR(spread / static_cast<double>(inside), std::sqrt(squares / static_cast<double>(inside)), 0.1);
}

TEST(Foretell, APixelTakesNoPartInItsOwn) {
  std::vector<float> map = specimen();
  const size_t pixel = 20 * width + 25;
  const Foretold before = foretell(map, height, width, 9, {});
  map[pixel] += 100;
  const Foretold after = foretell(map, height, width, 9, {});
  EXPECT_EQ(before.value[pixel], after.value[pixel]);
  EXPECT_NEAR(before.spread[pixel], after.spread[pixel], 0.1);
}

// Two materials that meet along a wavy line, and a disc of two pixels' radius that is an anomaly.
TEST(Foretell, AtABorderItsOwnKindForetellsAPixel) {
  std::mt19937 generator(6);
  std::normal_distribution<float> normal;
  std::vector<float> map;
  std::vector<uint8_t> disc;
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      const double border = 20 + 4 * std::sin(static_cast<double>(y) / 3);
      disc.push_back(std::hypot(static_cast<double>(y - 20), static_cast<double>(x - 40)) <= 2);
      map.push_back((static_cast<double>(x) < border || disc.back() ? 10 : 0) + normal(generator));
    }
  const Foretold foretold = foretell(map, height, width, 9, {});
  int64_t departing = 0;
  for (size_t pixel = 0; pixel < map.size(); ++pixel) {
    const float left = std::abs(map[pixel] - foretold.value[pixel]);
    if (disc[pixel]) {
      EXPECT_GT(left, 5) << "an anomaly is not its own surroundings";
    } else {
      departing += left > 5;
    }
  }
  EXPECT_LE(departing, 10) << "of 2000, some 100 of them at the border";
}

TEST(Foretell, LessThanHalfOfTheOthersMayBeAnomalous) {
  std::vector<float> map(height * width, 1);
  for (size_t pixel = 0; pixel < map.size(); ++pixel)
    if (pixel % 3 == 0) map[pixel] = 50;
  const Foretold foretold = foretell(map, height, width, 9, {});
  for (float value : foretold.value) ASSERT_EQ(value, 1);
}

TEST(Foretell, ExcludedPixelsMayHoldAnything) {
  std::vector<float> map = specimen();
  std::vector<uint8_t> excluded(map.size());
  for (size_t pixel = 0; pixel < map.size(); pixel += 4) excluded[pixel] = 1;
  const Foretold before = foretell(map, height, width, 5, excluded);
  for (size_t pixel = 0; pixel < map.size(); pixel += 4) map[pixel] = std::numeric_limits<float>::quiet_NaN();
  const Foretold after = foretell(map, height, width, 5, excluded);
  EXPECT_EQ(before.value, after.value);
  EXPECT_EQ(before.spread, after.spread);
  EXPECT_EQ(after.value[0], 0);
}

TEST(Foretell, OfALonelyPixelIsNothing) {
  const Foretold foretold = foretell(std::vector<float>{7}, 1, 1, 9, {});
  EXPECT_EQ(foretold.value, std::vector<float>{0});
  EXPECT_EQ(foretold.spread, std::vector<float>{0});
  // Everything around it excluded.
  const Foretold cut_off =
      foretell(std::vector<float>(9, 7), 3, 3, 9, std::vector<uint8_t>{1, 1, 1, 1, 0, 1, 1, 1, 1});
  EXPECT_EQ(cut_off.value[4], 0);
  EXPECT_EQ(cut_off.spread[4], 0);
}

TEST(Foretell, IsTheSameOnAnyNumberOfThreads) {
  const std::vector<float> map = specimen();
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const Foretold one = foretell(map, height, width, 9, {});
  omp_set_num_threads(3);
  const Foretold three = foretell(map, height, width, 9, {});
  omp_set_num_threads(threads);
  EXPECT_EQ(one.value, three.value);
  EXPECT_EQ(one.spread, three.spread);
}

}  // namespace
}  // namespace eelsvae
