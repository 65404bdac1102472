#include "io/reports/histogram_image.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "kernels/philox.h"

namespace eelsvae {
namespace {

constexpr Colour white = {255, 255, 255}, ink = {34, 34, 34};
constexpr Colour normal = {0, 114, 178}, anomalous = {213, 94, 0}, null_colour = {0, 158, 115};

// Normal scores about 0.1, and a few about 0.8.
std::vector<float> sample() {
  std::vector<float> scores;
  for (uint64_t i = 0; i < 5000; ++i) {
    double sum = 0;
    for (uint32_t v : philox(1, RandomStream::simulation, 0, i).v) sum += uniform(v) - 0.5;
    scores.push_back(static_cast<float>(i % 100 == 0 ? 0.8 + 0.05 * sum : 0.1 + 0.05 * sum));
  }
  return scores;
}

bool near(const HistogramImage& plot, int64_t column, int64_t row, Colour colour) {
  for (int64_t y = row - 3; y <= row + 3; ++y)
    if (plot.image.at(column, y) == colour) return true;
  return false;
}

TEST(HistogramImage, BarsStandForCounts) {
  std::vector<float> scores(1000, 0.0f);
  scores.resize(1010, 1.0f);
  scores.push_back(std::numeric_limits<float>::quiet_NaN());
  const HistogramImage plot = draw_histogram(scores, {}, {.threshold = 0.5, .null_curve = {}});
  EXPECT_EQ(plot.low, 0);
  EXPECT_EQ(plot.high, 1);
  const int64_t first = plot.left + 3, last = plot.left + plot.width - 5;
  for (const auto& [column, count, colour] : {std::tuple{first, 1000.0, normal}, {last, 10.0, anomalous}}) {
    const int64_t row = plot.row_of(count);
    EXPECT_EQ(plot.image.at(column, row + 1), colour) << count;
    EXPECT_NE(plot.image.at(column, row - 2), colour) << count;
  }
  // A decade takes the same height everywhere, and nothing stands between the two bars.
  EXPECT_EQ(plot.row_of(1) - plot.row_of(10), plot.row_of(100) - plot.row_of(1000));
  for (int64_t column = plot.left + 9; column < plot.left + plot.width - 9; ++column)
    EXPECT_NE(plot.image.at(column, plot.top + plot.height - 1), normal);
}

TEST(HistogramImage, TheThresholdIsALineWithItsValue) {
  const HistogramImage plain = draw_histogram(sample()),
                       plot = draw_histogram(sample(), {}, {.threshold = 0.5, .null_curve = {}});
  const int64_t column = plot.column_of(0.5);
  EXPECT_NEAR(static_cast<double>(column - plot.left) / static_cast<double>(plot.width),
              (0.5 - plot.low) / (plot.high - plot.low), 0.01);
  for (int64_t row = plot.top; row < plot.top + plot.height; ++row)
    ASSERT_EQ(plot.image.at(column, row), ink) << row;
  int64_t label = 0;
  for (int64_t row = 0; row < plot.top; ++row)
    for (int64_t x = plot.left + 90; x < plot.image.width; ++x) label += plot.image.at(x, row) == ink;
  EXPECT_GT(label, 100);
  for (int64_t row = 0; row < plain.top - 10; ++row)
    for (int64_t x = plain.left + 90; x < plain.image.width; ++x)
      ASSERT_EQ(plain.image.at(x, row), white) << "no threshold, no label";
}

TEST(HistogramImage, TheNullIsDrawnInCountsPerBar) {
  const std::vector<float> scores = sample();
  std::vector<std::pair<double, double>> null;
  for (int i = 0; i <= 100; ++i) {
    const double score = 0.01 * i;
    null.emplace_back(score, 5000 * std::exp(-0.5 * std::pow((score - 0.1) / 0.03, 2)) / (0.03 * 2.5066));
  }
  const HistogramImage plot = draw_histogram(scores, {}, {.threshold = 0.5, .null_curve = null});
  if (const char* folder = std::getenv("EELSVAE_SCREENSHOTS"))
    write_png(std::string(folder) + "/histogram.png", plot.image);
  const double bin = (plot.high - plot.low) / 80;
  for (int i : {6, 10, 14})
    EXPECT_TRUE(near(plot, plot.column_of(null[i].first), plot.row_of(null[i].second * bin), null_colour))
        << i;
  for (int64_t column = plot.column_of(0.5); column < plot.image.width; ++column)
    for (int64_t row = 0; row < plot.image.height; ++row)
      ASSERT_NE(plot.image.at(column, row), null_colour) << "where next to nothing is expected";
}

TEST(HistogramImage, OddScores) {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  for (const std::vector<float>& scores :
       {std::vector<float>{}, std::vector<float>{nan, nan}, std::vector<float>{1},
        std::vector<float>(9, 0.0f), std::vector<float>{infinity, 1}, std::vector<float>{-3e38f, 3e38f},
        std::vector<float>(100000, 1e-30f)}) {
    const HistogramImage plot = draw_histogram(
        scores, {},
        {.threshold = 0.5, .null_curve = {{0, nan}, {0.1, -1}, {0.2, 1e300}, {0.2, 5}, {0.3, infinity}}});
    EXPECT_LT(plot.low, plot.high);
    EXPECT_LT(plot.image.width, 2000);
    EXPECT_LT(plot.image.height, 1000);
    EXPECT_FALSE(encode_png(plot.image).empty());
  }
  EXPECT_THROW(draw_histogram(sample(), std::vector<uint8_t>(3)), std::logic_error);
}

}  // namespace
}  // namespace eelsvae
