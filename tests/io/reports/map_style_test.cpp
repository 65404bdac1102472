#include "io/reports/map_style.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

namespace eelsvae {
namespace {

Axis pixels_of(int64_t size, double scale = 0.8, const std::string& units = "nm") {
  return {"x", units, 0, scale, size};
}

std::vector<float> ramp(int64_t size) {
  std::vector<float> values(static_cast<size_t>(size));
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

TEST(Viridis, KeepsThePublishedEndsAndBrightens) {
  EXPECT_EQ(viridis()[0], (Colour{68, 1, 84}));
  EXPECT_EQ(viridis()[255], (Colour{253, 231, 37}));
  // Rec. 709 luma; a palette that is read in grey must rise.
  auto luma = [](Colour c) { return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2]; };
  for (size_t i = 1; i < 256; ++i) EXPECT_GT(luma(viridis()[i]), luma(viridis()[i - 1]) - 0.5) << i;
}

TEST(MapLimits, IgnoreHotPixelsAndNan) {
  std::vector<float> values = ramp(10000);
  values[17] = 1e9f;
  values[18] = std::numeric_limits<float>::quiet_NaN();
  values[19] = -std::numeric_limits<float>::infinity();
  const auto [low, high] = robust_limits(values);
  EXPECT_NEAR(low, 50, 3);
  EXPECT_NEAR(high, 9950, 3);
}

TEST(MapLimits, AreNeverEmpty) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::vector<float>& values :
       {std::vector<float>(9, 3.0f), std::vector<float>(9, 0.0f), std::vector<float>(9, -1e-30f),
        std::vector<float>(9, nan), std::vector<float>{}, std::vector<float>{nan, 5.0f}}) {
    const auto [low, high] = robust_limits(values);
    EXPECT_LT(low, high);
    EXPECT_TRUE(std::isfinite(low) && std::isfinite(high));
  }
  // More than 99 % of the values are the same: the limits hold the rest.
  std::vector<float> values(1000, 1.0f);
  values[5] = 2;
  EXPECT_EQ(robust_limits(values), (std::array<double, 2>{1, 2}));
}

TEST(MapLimits, HoldTheThresholdAndTheAnomalies) {
  std::vector<float> values(10000, 0.1f);
  std::vector<uint8_t> mask(values.size(), 0);
  for (size_t i = 0; i < values.size(); ++i) values[i] += 0.001f * static_cast<float>(i % 100);
  for (size_t i = 0; i < 3; ++i) mask[i] = 1;
  values[0] = 0.5f;
  values[1] = 0.6f;
  values[2] = 1e6f;  // a hot pixel
  const auto limits = map_limits(values, mask, 0.3);
  EXPECT_FLOAT_EQ(static_cast<float>(limits[1]), 0.6f);
  EXPECT_FLOAT_EQ(static_cast<float>(map_limits(values, {}, 0.3)[1]), 0.3f);
  EXPECT_LT(map_limits(values, {}, 1e9)[1], 0.3);
  EXPECT_LT(map_limits(values, {}, std::nan(""))[1], 0.3);
}

TEST(ScaleBarTest, RoundLengthsInTheAxisUnits) {
  // 0.3 of 96 * 0.8 nm = 23 nm; the next lower round length is 20 nm = 25 pixels.
  EXPECT_EQ(scale_bar(pixels_of(96)).label, "20 nm");
  EXPECT_DOUBLE_EQ(scale_bar(pixels_of(96)).pixels, 25);
  EXPECT_EQ(scale_bar(pixels_of(96, -0.8)).label, "20 nm");
  EXPECT_EQ(scale_bar(pixels_of(96, 0.8, "\u00b5m")).label, "20 \u00b5m");
  EXPECT_EQ(scale_bar(pixels_of(100, 10)).label, "200 nm");
  EXPECT_EQ(scale_bar(pixels_of(100, 8, "\u00c5")).label, "20 nm");
  EXPECT_EQ(scale_bar(pixels_of(1)).label, "0.2 nm");
}

TEST(ScaleBarTest, PixelsWhereTheAxisHasNoLength) {
  for (const Axis& axis : {pixels_of(96, 1, ""), pixels_of(96, 1, "<undefined>"), pixels_of(96, 0),
                           pixels_of(96, std::nan("")), pixels_of(96, 1e300)}) {
    EXPECT_EQ(scale_bar(axis).label, "20 px");
    EXPECT_DOUBLE_EQ(scale_bar(axis).pixels, 20);
  }
  EXPECT_DOUBLE_EQ(scale_bar(pixels_of(1, 1, "")).pixels, 1);
}

TEST(PixelAspect, IsOfAxesThatCompare) {
  EXPECT_EQ(pixel_aspect(pixels_of(20, 2), pixels_of(20, 1)), 2);
  EXPECT_EQ(pixel_aspect(pixels_of(20, 2, "nm"), pixels_of(20, 1, "s")), 1) << "other units do not compare";
  EXPECT_EQ(pixel_aspect(pixels_of(20, 2), pixels_of(20, 0)), 1);
  EXPECT_EQ(pixel_aspect(pixels_of(20, std::nan("")), pixels_of(20, 1)), 1);
}

TEST(RoundValues, AreFewAndInside) {
  EXPECT_EQ(round_values({0, 1}, 5), (std::vector<double>{0, 0.2, 0.4, 3 * 0.2, 0.8, 1}));
  EXPECT_EQ(round_values({-130, 260}, 4), (std::vector<double>{-100, 0, 100, 200}));
  for (const std::array<double, 2> interval :
       {std::array{0.1, 0.3}, {-1e-30, 1e-30}, {-3e38, 3e38}, {1340.0, 1341.0}})
    for (int at_most : {1, 3, 7}) {
      const std::vector<double> values = round_values(interval, at_most);
      EXPECT_LE(std::ssize(values), at_most + 1);
      for (double value : values) EXPECT_TRUE(value >= interval[0] && value <= interval[1]) << value;
    }
}

}  // namespace
}  // namespace eelsvae
