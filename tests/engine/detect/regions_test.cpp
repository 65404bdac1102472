#include "engine/detect/regions.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "tests/engine/spectra.h"

namespace eelsvae {
namespace {

// A map of one character per pixel: '.' normal, a digit: an anomalous pixel with that score, 'x' excluded.
struct Map {
  SpectrumImage image;
  std::vector<float> expected, scores;
  std::vector<uint8_t> mask;
};

Map map_of(const std::vector<std::string>& rows) {
  Map map;
  const auto height = static_cast<int64_t>(rows.size()), width = static_cast<int64_t>(rows[0].size());
  map.image = image_of(height, width, {"Energy loss", "eV", 0, 1, 3},
                       [=](int64_t y, int64_t x, double e) { return double(y * width + x) * 10 + e; });
  map.expected.assign(map.image.counts.size(), 1);
  for (const std::string& row : rows)
    for (char c : row) {
      const bool digit = c >= '0' && c <= '9';
      map.scores.push_back(digit      ? static_cast<float>(c - '0')
                           : c == 'x' ? std::numeric_limits<float>::quiet_NaN()
                                      : 0);
      map.mask.push_back(digit);
      map.image.excluded.push_back(c == 'x');
    }
  return map;
}

std::vector<Region> regions_of(const Map& map) {
  return find_regions(map.image, map.expected, map.scores, map.mask);
}

TEST(Regions, TouchByEdgesAndCorners) {
  const std::vector<Region> regions = regions_of(map_of({
      "1..2",  //
      ".3..",  //
      "x.1.",  //
      "5...",  //
  }));
  ASSERT_EQ(regions.size(), 3u);
  EXPECT_EQ(regions[0].pixels, (std::vector<int64_t>{12}));
  EXPECT_EQ(regions[1].pixels, (std::vector<int64_t>{0, 5, 10}));
  EXPECT_EQ(regions[1].strongest, 5);
  EXPECT_EQ(regions[1].highest_score, 3);
  EXPECT_EQ(regions[2].pixels, (std::vector<int64_t>{3}));
}

TEST(Regions, DoNotReachAroundTheBorder) {
  // The end of a row lies beside the beginning of the next one in memory only.
  EXPECT_EQ(regions_of(map_of({"..1", "1..", "..1"})).size(), 3u);
}

TEST(Regions, MayBeConnectedByDetours) {
  const std::vector<Region> regions = regions_of(map_of({
      "1.1.1",  //
      "1.1.1",  //
      ".1.1.",  //
  }));
  ASSERT_EQ(regions.size(), 1u);
  EXPECT_EQ(regions[0].pixels, (std::vector<int64_t>{0, 2, 4, 5, 7, 9, 11, 13}));
}

TEST(Regions, AreDescribedInTheUnitsOfTheAxes) {
  Map map = map_of({"....", ".12.", ".1.."});
  map.image.y = {"y", "nm", 100, -0.5, 3};
  map.image.x = {"x", "nm", 20, 2, 4};
  const std::vector<Region> regions = regions_of(map);
  ASSERT_EQ(regions.size(), 1u);
  EXPECT_NEAR(regions[0].y, 100 - 0.5 * (4 / 3.0), 1e-12);
  EXPECT_NEAR(regions[0].x, 20 + 2 * (4 / 3.0), 1e-12);
  EXPECT_EQ(regions[0].area, 3);
  EXPECT_EQ(regions[0].strongest, 6);
  // Pixels 5, 6 and 9 have the counts 10 i + e; 1 is expected.
  EXPECT_EQ(regions[0].deviation, (std::vector<float>{200.0f / 3 - 1, 200.0f / 3, 200.0f / 3 + 1}));

  map.image.y = {"y", "", 0, 1, 3};
  map.image.x = {"x", "", 0, 1, 4};
  EXPECT_EQ(regions_of(map)[0].area, 3);  // pixels
  EXPECT_NEAR(regions_of(map)[0].y, 4 / 3.0, 1e-12);
}

TEST(Regions, AreOrderedByHighestScoreThenByFirstPixel) {
  const std::vector<Region> regions = regions_of(map_of({"4.71", "....", "7.94", "....", "7.3."}));
  ASSERT_EQ(regions.size(), 6u);
  std::vector<int64_t> first;
  for (const Region& region : regions) first.push_back(region.pixels[0]);
  EXPECT_EQ(first, (std::vector<int64_t>{10, 2, 8, 16, 0, 18}));
  EXPECT_EQ(regions_of(map_of({"77"}))[0].strongest, 0);
}

TEST(Regions, OfEmptyAndFullMasks) {
  EXPECT_TRUE(regions_of(map_of({"...", ".x.", "..."})).empty());
  const std::vector<Region> all = regions_of(map_of({"11", "11"}));
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].pixels.size(), 4u);
}

TEST(Regions, AreNotWhereNothingWasScored) {
  Map map = map_of({"1x"});
  map.mask[1] = 1;
  EXPECT_THROW(regions_of(map), std::logic_error);
  map = map_of({"1x"});
  map.expected.pop_back();
  EXPECT_THROW(regions_of(map), std::logic_error);
}

}  // namespace
}  // namespace eelsvae
