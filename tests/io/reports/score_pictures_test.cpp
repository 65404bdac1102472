#include "io/reports/score_pictures.h"

#include <cairo/cairo.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "io/reports/map_style.h"
#include "kernels/philox.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

constexpr Colour white = {255, 255, 255}, ink = {34, 34, 34}, grey = {160, 160, 160};
constexpr Colour normal = {0, 114, 178}, anomalous = {213, 94, 0}, null_colour = {0, 158, 115};
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int margin = 16;

// A PNG file, read back.
struct Picture {
  int width = 0, height = 0;
  std::vector<Colour> pixels;

  explicit Picture(const std::string& path) {
    cairo_surface_t* surface = cairo_image_surface_create_from_png(path.c_str());
    EXPECT_EQ(cairo_surface_status(surface), CAIRO_STATUS_SUCCESS);
    width = cairo_image_surface_get_width(surface);
    height = cairo_image_surface_get_height(surface);
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) {
        const unsigned char* p =
            cairo_image_surface_get_data(surface) + y * cairo_image_surface_get_stride(surface) + 4 * x;
        pixels.push_back({p[2], p[1], p[0]});
      }
    cairo_surface_destroy(surface);
  }
  Colour at(int x, int y) const { return pixels.at(static_cast<size_t>(y * width + x)); }
  // How many pixels from (x, y) on, to the right or downwards, have this colour.
  int run(int x, int y, Colour colour, bool down = false) const {
    int length = 0;
    while (x < width && y < height && at(x, y) == colour) {
      ++length;
      ++(down ? y : x);
    }
    return length;
  }
  int64_t count(Colour colour) const { return std::ranges::count(pixels, colour); }
};

Axis pixels_of(int64_t size, double scale = 0.8) {
  return {"x", "nm", 0, scale, size};
}

std::vector<float> ramp(int64_t size) {
  std::vector<float> values(static_cast<size_t>(size));
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

class ScorePicturesTest : public FileTest {
 protected:
  Picture map(const std::vector<float>& scores, const Axis& y, const Axis& x, std::vector<uint8_t> mask = {},
              double threshold = infinity) {
    SpectrumImage image;
    image.y = y;
    image.x = x;
    Detection found;
    found.scores = scores;
    found.mask = mask.empty() ? std::vector<uint8_t>(scores.size()) : std::move(mask);
    found.threshold = threshold;
    write_score_map(path("map.png"), image, found);
    keep("map.png");
    return Picture(path("map.png"));
  }
  Picture histogram(const std::vector<float>& scores, double threshold,
                    const std::optional<EmpiricalNull>& null = {}) {
    Detection found;
    found.scores = scores;
    found.mask.resize(scores.size());
    found.threshold = threshold;
    found.null = null;
    write_score_histogram(path("histogram.png"), found);
    keep("histogram.png");
    return Picture(path("histogram.png"));
  }

 private:
  void keep(const std::string& name) const {
    if (const char* folder = std::getenv("EELSVAE_SCREENSHOTS"))
      std::filesystem::copy_file(path(name), std::string(folder) + "/" + name,
                                 std::filesystem::copy_options::overwrite_existing);
  }
};

TEST_F(ScorePicturesTest, AMapIsEnlargedByWholePixels) {
  const Picture picture = map(ramp(96 * 80), pixels_of(80), pixels_of(96));
  // The first and the last value, to the corners of their blocks of 7 x 7, and the margin around.
  const int right = margin + 96 * 7 - 1, bottom = margin + 80 * 7 - 1;
  EXPECT_EQ(picture.at(margin, margin), viridis()[0]);
  EXPECT_EQ(picture.at(right, bottom), viridis()[255]);
  EXPECT_EQ(picture.at(right - 6, bottom - 6), viridis()[255]);
  EXPECT_EQ(picture.at(margin - 1, margin), white);
  EXPECT_EQ(picture.at(right + 1, bottom), white);
  EXPECT_EQ(picture.at(right, bottom + 1), white);
}

TEST_F(ScorePicturesTest, AValueDecidesTheColour) {
  const Picture picture = map({0, 0.5f, 1, std::nanf("")}, pixels_of(2), pixels_of(2));
  const int first = margin + 32, second = margin + 64 + 32;
  EXPECT_EQ(picture.at(first, first), viridis()[0]);
  EXPECT_EQ(picture.at(second, first), viridis()[128]);
  EXPECT_EQ(picture.at(first, second), viridis()[255]);
  EXPECT_EQ(picture.at(second, second), grey);
}

TEST_F(ScorePicturesTest, TheOutlineRunsAlongTheMasksBorder) {
  // Two neighbours, (1, 1) and (1, 2): one line around both and none between them.
  std::vector<uint8_t> mask(5 * 6, 0);
  mask[1 * 6 + 1] = mask[1 * 6 + 2] = 1;
  const Picture plain = map(ramp(30), pixels_of(5), pixels_of(6)),
                picture = map(ramp(30), pixels_of(5), pixels_of(6), mask);
  const int left = margin + 64, right = margin + 3 * 64, top = margin + 64, bottom = margin + 2 * 64;
  for (int y = margin; y < margin + 5 * 64; ++y)
    for (int x = margin; x < margin + 6 * 64; ++x) {
      const bool within = x >= left && x < right && y >= top && y < bottom;
      const bool dark = within && (x == left || x == right - 1 || y == top || y == bottom - 1);
      const bool light = !within && x >= left - 1 && x <= right && y >= top - 1 && y <= bottom;
      ASSERT_EQ(picture.at(x, y), dark ? ink : light ? white : plain.at(x, y)) << "x " << x << ", y " << y;
    }
}

TEST_F(ScorePicturesTest, SmallBlocksKeepTheirColour) {
  const Picture picture = map(ramp(900 * 2), pixels_of(2), pixels_of(900), std::vector<uint8_t>(1800, 1));
  EXPECT_EQ(picture.at(margin, margin), white) << "the outline";
  EXPECT_EQ(picture.at(margin + 1, margin + 1), viridis()[0]);
}

TEST_F(ScorePicturesTest, TheThresholdIsMarkedOnTheColourBar) {
  const Picture picture = map(ramp(100), pixels_of(10), pixels_of(10), {}, 75);
  const int bar = margin + 640 + 16 + 9;
  int y = margin;
  while (y < margin + 640 && picture.at(bar, y) != ink) ++y;
  EXPECT_NEAR(y - margin, 640 * (1 - 75.0 / 99), 2);
  EXPECT_EQ(picture.at(bar, margin), viridis()[255]);
  EXPECT_EQ(picture.at(bar, margin + 639), viridis()[0]);
}

TEST_F(ScorePicturesTest, TheScaleBarIsAsLongAsItSays) {
  for (const Axis& x : {pixels_of(96, 0.8), pixels_of(31, 0.37), pixels_of(210, 1.3), pixels_of(3, 7)}) {
    const Picture picture = map(ramp(20 * x.size), pixels_of(20, x.scale), x);
    const int block = std::clamp<int>(720 / static_cast<int>(std::max<int64_t>(x.size, 20)), 1, 64);
    int top = margin;  // the colour bar's labels may stand out above
    while (picture.at(margin, top) == white) ++top;
    const int drawn = picture.run(margin, top + 20 * block + 24, ink);
    EXPECT_NEAR(static_cast<double>(drawn) / block * x.scale, std::stod(scale_bar(x).label), x.scale / block);
  }
}

TEST_F(ScorePicturesTest, OblongPixelsKeepTheirShape) {
  const Picture picture = map(std::vector<float>(400, 1.0f), pixels_of(20, 2), pixels_of(20, 1));
  const Colour colour = picture.at(margin, margin);
  EXPECT_EQ(picture.run(margin, margin, colour), 20 * 18);
  EXPECT_EQ(picture.run(margin, margin, colour, true), 20 * 36);
}

TEST_F(ScorePicturesTest, MapsOfUnusualShapes) {
  for (auto [rows, columns] : {std::pair<int64_t, int64_t>{1, 1}, {1, 100}, {100, 1}, {1, 3000}, {2, 2}}) {
    const std::vector<float> constant(static_cast<size_t>(rows * columns), 0.25f);
    const Picture picture =
        map(constant, pixels_of(rows), pixels_of(columns), std::vector<uint8_t>(constant.size(), 1), 0.25);
    EXPECT_GT(picture.width, std::max<int64_t>(columns, 64) + 2 * margin);
    EXPECT_GT(picture.height, 48 + 2 * margin + 28);
    EXPECT_GT(picture.count(ink), 100) << "scale bar and labels";
  }
}

// Normal scores about 0.1, and a few about 0.8.
std::vector<float> some_scores() {
  std::vector<float> scores;
  for (uint64_t i = 0; i < 5000; ++i) {
    double sum = 0;
    for (uint32_t v : philox(1, RandomStream::simulation, 0, i).v) sum += uniform(v) - 0.5;
    scores.push_back(static_cast<float>(i % 100 == 0 ? 0.8 + 0.05 * sum : 0.1 + 0.05 * sum));
  }
  return scores;
}

// Where a histogram's plot of 720 x 360 begins: at the longest of its vertical lines in the left half.
std::pair<int, int> plot_corner(const Picture& picture) {
  for (int x = 0; x < picture.width / 2; ++x)
    for (int y = 0; y < picture.height / 2; ++y)
      if (picture.run(x, y, ink, true) >= 360) return {x, y};
  ADD_FAILURE() << "no axis";
  return {0, 0};
}

TEST_F(ScorePicturesTest, BarsStandForCounts) {
  std::vector<float> scores(1000, 0.0f);
  scores.resize(1010, 1.0f);
  scores.push_back(std::nanf(""));
  const Picture picture = histogram(scores, 0.5);
  const auto [left, top] = plot_corner(picture);
  auto tall = [](double count) { return 360 * std::log(count / 0.7) / std::log(1300 / 0.7); };
  for (const auto& [x, count, colour] :
       {std::tuple{left + 3, 1000.0, normal}, {left + 720 - 5, 10.0, anomalous}}) {
    int y = top;
    while (picture.at(x, y) != colour) ++y;
    EXPECT_NEAR(top + 360 - y, tall(count), 1) << count;
    EXPECT_EQ(picture.run(x, y, colour, true), top + 360 - y) << count;
  }
  EXPECT_EQ(picture.count(normal) % 7, 0) << "one bar, eight pixels wide, of which the axis takes one";
}

TEST_F(ScorePicturesTest, TheThresholdIsALineWithItsValue) {
  const Picture plain = histogram(some_scores(), infinity), picture = histogram(some_scores(), 0.5);
  const auto [left, top] = plot_corner(picture);
  int line = left + 1;
  while (line < picture.width && picture.run(line, top, ink, true) < 360) ++line;
  // All scores lie between the ends of the axis.
  const auto [low, high] = std::ranges::minmax(some_scores());
  EXPECT_NEAR(line + 1 - left, 720 * (0.5f - low) / (high - low), 8);
  auto above = [](const Picture& p, int first) {
    int64_t count = 0;
    for (int y = 0; y < plot_corner(p).second; ++y)
      for (int x = first; x < p.width; ++x) count += p.at(x, y) != white;
    return count;
  };
  EXPECT_GT(above(picture, left + 90), 100);
  EXPECT_EQ(above(plain, plot_corner(plain).first + 90), 0) << "no threshold, no label";
}

TEST_F(ScorePicturesTest, TheNullIsDrawnInCountsPerBar) {
  EmpiricalNull null;
  null.location = 0.1;
  null.scale = 0.03;
  null.normal_share = 0.99;
  const std::vector<float> scores = some_scores();
  const Picture picture = histogram(scores, 0.5, null);
  const auto [left, top] = plot_corner(picture);
  int64_t within = 0;
  for (int y = 0; y < picture.height; ++y)
    for (int x = 0; x < picture.width; ++x)
      if (picture.at(x, y) == null_colour) {
        within += x >= left && x < left + 250 && y >= top && y < top + 360;
        ASSERT_LT(x, left + 300) << "where next to nothing is expected";
      }
  EXPECT_GT(within, 200);
}

TEST_F(ScorePicturesTest, HistogramsOfOddScores) {
  const float nan = std::nanf(""), infinite = std::numeric_limits<float>::infinity();
  EmpiricalNull wide;
  wide.scale = 1e30;
  for (const std::vector<float>& scores :
       {std::vector<float>{}, std::vector<float>{nan, nan}, std::vector<float>{1},
        std::vector<float>(9, 0.0f), std::vector<float>{infinite, 1}, std::vector<float>{-3e38f, 3e38f},
        std::vector<float>(100000, 1e-30f)}) {
    const Picture picture = histogram(scores, 0.5, wide);
    EXPECT_LT(picture.width, 2000);
    EXPECT_LT(picture.height, 1000);
  }
}

TEST_F(ScorePicturesTest, AFailureNamesTheFile) {
  Detection found;
  found.scores = {1, 2};
  found.mask = {0, 0};
  EXPECT_EQ(user_error([&] { write_score_histogram(path("missing/histogram.png"), found); }),
            "cannot write " + path("missing/histogram.png") + ": No such file or directory");
}

}  // namespace
}  // namespace eelsvae
