#include "io/reports/map_image.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "io/reports/stroke_font.h"

namespace eelsvae {
namespace {

constexpr Colour white = {255, 255, 255}, ink = {34, 34, 34}, grey = {160, 160, 160};

Axis pixels_of(int64_t size, double scale = 0.8, const std::string& units = "nm") {
  return {"x", units, 0, scale, size};
}

std::vector<float> ramp(int64_t size) {
  std::vector<float> values(static_cast<size_t>(size));
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

Colour centre_of(const MapImage& map, int64_t row, int64_t column) {
  return map.image.at(map.left + column * map.cell_width + map.cell_width / 2,
                      map.top + row * map.cell_height + map.cell_height / 2);
}

int64_t length_of_run(const MapImage& map, int64_t row, Colour colour) {
  int64_t column = map.bar_left;
  while (column < map.image.width && map.image.at(column, row) == colour) ++column;
  return column - map.bar_left;
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

TEST(ScaleBarTest, IsDrawnAsLongAsItSays) {
  for (const Axis& x : {pixels_of(96, 0.8), pixels_of(31, 0.37), pixels_of(210, 1.3), pixels_of(3, 7)}) {
    const std::vector<float> values = ramp(20 * x.size);
    const MapImage map = draw_map(values, pixels_of(20), x);
    const int64_t drawn = length_of_run(map, map.bar_top + map.bar_thickness / 2, ink);
    const double labelled_nm = std::stod(scale_bar(x).label);
    EXPECT_NEAR(static_cast<double>(drawn) / static_cast<double>(map.cell_width) * x.scale, labelled_nm,
                x.scale / static_cast<double>(map.cell_width));
    EXPECT_EQ(map.image.at(map.bar_left, map.bar_top - 1), white);
    EXPECT_EQ(map.image.at(map.bar_left, map.bar_top + map.bar_thickness), white);
  }
}

TEST(DrawMap, EnlargesByWholePixels) {
  const MapImage map = draw_map(ramp(96 * 80), pixels_of(80), pixels_of(96));
  EXPECT_EQ(map.cell_width, 7);
  EXPECT_EQ(map.cell_height, 7);
  EXPECT_GE(96 * map.cell_width, 600);
  EXPECT_LE(96 * map.cell_width, 800);
  // The first and the last value, to the corners of their blocks, and the margin around.
  const int64_t right = map.left + 96 * 7 - 1, bottom = map.top + 80 * 7 - 1;
  EXPECT_EQ(map.image.at(map.left, map.top), viridis()[0]);
  EXPECT_EQ(map.image.at(right, bottom), viridis()[255]);
  EXPECT_EQ(map.image.at(right - 6, bottom - 6), viridis()[255]);
  EXPECT_EQ(map.image.at(map.left - 1, map.top), white);
  EXPECT_EQ(map.image.at(right + 1, bottom), white);
  EXPECT_EQ(map.image.at(right, bottom + 1), white);
}

TEST(DrawMap, ValueDecidesTheColour) {
  const std::vector<float> values = {0, 0.5f, 1, -3, 7, std::numeric_limits<float>::quiet_NaN()};
  const MapImage map =
      draw_map(values, pixels_of(2), pixels_of(3), {}, {.limits = {{0, 1}}, .threshold = {}});
  EXPECT_EQ(centre_of(map, 0, 0), viridis()[0]);
  EXPECT_EQ(centre_of(map, 0, 1), viridis()[128]);
  EXPECT_EQ(centre_of(map, 0, 2), viridis()[255]);
  EXPECT_EQ(centre_of(map, 1, 0), viridis()[0]);
  EXPECT_EQ(centre_of(map, 1, 1), viridis()[255]);
  EXPECT_EQ(centre_of(map, 1, 2), grey);
}

TEST(DrawMap, OutlineRunsAlongTheMaskBorder) {
  // Two neighbours, (1, 1) and (1, 2): one line around both and none between them.
  std::vector<uint8_t> mask(5 * 6, 0);
  mask[1 * 6 + 1] = mask[1 * 6 + 2] = 1;
  const MapImage plain = draw_map(ramp(30), pixels_of(5), pixels_of(6));
  const MapImage map =
      draw_map(ramp(30), pixels_of(5), pixels_of(6), mask, {.limits = plain.limits, .threshold = {}});
  const int64_t w = map.cell_width, h = map.cell_height;
  const int64_t left = map.left + w, right = map.left + 3 * w, top = map.top + h, bottom = map.top + 2 * h;
  for (int64_t row = map.top; row < map.top + 5 * h; ++row) {
    for (int64_t column = map.left; column < map.left + 6 * w; ++column) {
      const bool within = column >= left && column < right && row >= top && row < bottom;
      const bool dark = within && (column == left || column == right - 1 || row == top || row == bottom - 1);
      const bool light = !within && column >= left - 1 && column <= right && row >= top - 1 && row <= bottom;
      const Colour expected = dark ? ink : light ? white : plain.image.at(column, row);
      ASSERT_EQ(map.image.at(column, row), expected) << "column " << column << ", row " << row;
    }
  }
}

TEST(DrawMap, OutlineAtTheEdgeStaysInTheImage) {
  const std::vector<uint8_t> mask(900 * 2, 1);
  const MapImage map = draw_map(ramp(900 * 2), pixels_of(2), pixels_of(900), mask);
  EXPECT_EQ(map.cell_width, 1);
  EXPECT_EQ(map.image.at(map.left - 1, map.top), white);
  EXPECT_EQ(centre_of(map, 0, 0), viridis()[0]) << "a small cell must keep its colour";
}

TEST(DrawMap, ThresholdIsMarkedOnTheColourBar) {
  const MapImage map =
      draw_map(ramp(100), pixels_of(10), pixels_of(10), {}, {.limits = {{0, 100}}, .threshold = 75});
  const int64_t height = 10 * map.cell_height, middle_of_bar = map.left + 10 * map.cell_width + 16 + 9;
  int64_t marked = -1;
  for (int64_t row = map.top; row < map.top + height; ++row) {
    if (map.image.at(middle_of_bar, row) == ink) marked = row;
  }
  EXPECT_NEAR(static_cast<double>(marked - map.top), 0.25 * static_cast<double>(height), 2);
}

TEST(DrawMap, UnusualShapes) {
  for (auto [rows, columns] : {std::pair<int64_t, int64_t>{1, 1}, {1, 100}, {100, 1}, {1, 3000}, {2, 2}}) {
    const std::vector<float> constant(static_cast<size_t>(rows * columns), 0.25f);
    const std::vector<uint8_t> mask(constant.size(), 1);
    const MapImage map =
        draw_map(constant, pixels_of(rows), pixels_of(columns), mask, {.limits = {}, .threshold = 0.25});
    EXPECT_GE(map.cell_width, 1);
    EXPECT_GE(rows * map.cell_height, 48);
    EXPECT_GT(map.image.width, map.left + columns * map.cell_width);
    EXPECT_GT(map.image.height, map.bar_top + map.bar_thickness);
    EXPECT_GT(map.image.width,
              map.bar_left + map.bar_length + text_width(scale_bar(pixels_of(columns)).label, 17));
    EXPECT_FALSE(encode_png(map.image).empty());
  }
}

TEST(DrawMap, OblongPixelsKeepTheirShape) {
  const MapImage map = draw_map(ramp(400), pixels_of(20, 2), pixels_of(20, 1));
  EXPECT_EQ(map.cell_height, 2 * map.cell_width);
  EXPECT_LE(20 * map.cell_height, 800);
  EXPECT_EQ(pixel_aspect(pixels_of(20, 2, "nm"), pixels_of(20, 1, "s")), 1) << "other units do not compare";
  EXPECT_EQ(pixel_aspect(pixels_of(20, 2), pixels_of(20, 0)), 1);
  EXPECT_EQ(pixel_aspect(pixels_of(20, std::nan("")), pixels_of(20, 1)), 1);
}

TEST(DrawMap, SizesThatDisagreeAreRefused) {
  EXPECT_THROW(draw_map(ramp(11), pixels_of(3), pixels_of(4)), std::logic_error);
  EXPECT_THROW(draw_map(ramp(12), pixels_of(3), pixels_of(4), std::vector<uint8_t>(11)), std::logic_error);
  EXPECT_THROW(draw_map({}, pixels_of(0), pixels_of(4)), std::logic_error);
}

TEST(StrokeFont, DrawsDarkStrokesWithinTheTextsWidth) {
  Image image(120, 30, white);
  draw_text(image, 10, 24, 16, "20 nm", ink);
  const double width = text_width("20 nm", 16);
  int64_t darkened = 0, outside = 0;
  for (int64_t row = 0; row < image.height; ++row) {
    for (int64_t column = 0; column < image.width; ++column) {
      if (image.at(column, row) == white) continue;
      ++darkened;
      outside += column < 10 || column > 10 + static_cast<int64_t>(width);
    }
  }
  EXPECT_GT(darkened, 100);
  EXPECT_EQ(outside, 0);
  EXPECT_DOUBLE_EQ(text_width("\u00b5", 16), text_width("\u03bc", 16))
      << "both code points of micro are one letter";
}

TEST(StrokeFont, UnknownCharactersAreBlank) {
  Image image(60, 30, white);
  draw_text(image, 10, 24, 16, "\x01\u00e9\u4e2d", ink);
  EXPECT_EQ(image.samples, Image(60, 30, white).samples);
}

}  // namespace
}  // namespace eelsvae
