#include "io/reports/histogram_image.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "io/files/number_text.h"
#include "io/reports/axis_ticks.h"
#include "io/reports/map_image.h"
#include "io/reports/score_histogram.h"
#include "io/reports/stroke_font.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

// Okabe and Ito's blue, vermilion and green, as in the report.
constexpr Colour white = {255, 255, 255}, ink = {34, 34, 34}, grid = {228, 231, 234};
constexpr Colour normal = {0, 114, 178}, anomalous = {213, 94, 0}, null_colour = {0, 158, 115};

// In image pixels.
constexpr double text_height = 17;
constexpr int64_t margin = 16, bar_width = 9, plot_height = 360, tick_length = 6;

void draw_axes(HistogramImage& plot) {
  const auto right = static_cast<double>(plot.left) - tick_length - 4;
  const int64_t bottom = plot.top + plot.height;
  for (double decade = 1; decade <= plot.most; decade *= 10) {
    const int64_t row = plot.row_of(decade);
    const std::string label = count_text(static_cast<int64_t>(decade));
    plot.image.fill(plot.left, row, plot.width, 1, grid);
    plot.image.fill(plot.left - tick_length, row, tick_length, 1, ink);
    draw_text(plot.image, right - text_width(label, text_height), static_cast<double>(row) + text_height / 2,
              text_height, label, ink);
  }
  for (const Tick& tick : ticks(plot.low, plot.high, 7)) {
    const int64_t column = plot.column_of(tick.value);
    plot.image.fill(column, plot.top, 1, plot.height, grid);
    plot.image.fill(column, bottom, 1, tick_length, ink);
    draw_text(plot.image, static_cast<double>(column) - text_width(tick.label, text_height) / 2,
              static_cast<double>(bottom + tick_length + 6) + text_height, text_height, tick.label, ink);
  }
  draw_text(plot.image, margin, margin + text_height, text_height, "spectra", ink);
  draw_text(plot.image,
            static_cast<double>(plot.left) +
                (static_cast<double>(plot.width) - text_width("score", text_height)) / 2,
            static_cast<double>(plot.image.height - margin), text_height, "score", ink);
}

void draw_null(HistogramImage& plot, const std::vector<std::pair<double, double>>& curve) {
  for (size_t i = 1; i < curve.size(); ++i) {
    const auto [score0, count0] = curve[i - 1];
    const auto [score1, count1] = curve[i];
    if (!(score1 > score0)) continue;
    auto row_at = [&, score0 = score0, score1 = score1, count0 = count0, count1 = count1](int64_t column) {
      const double score = plot.low + (plot.high - plot.low) * static_cast<double>(column - plot.left) /
                                          static_cast<double>(plot.width);
      const double share = std::clamp((score - score0) / (score1 - score0), 0.0, 1.0);
      return plot.row_of(count0 + share * (count1 - count0));
    };
    for (int64_t column = plot.column_of(score0); column <= plot.column_of(score1); ++column) {
      const auto [high, low] = std::minmax({row_at(column), row_at(column + 1)});
      if (high < plot.top + plot.height)
        plot.image.fill(column, high - 1, 2, std::min(low, plot.top + plot.height - 1) - high + 2,
                        null_colour);
    }
  }
}

}  // namespace

int64_t HistogramImage::column_of(double score) const {
  return left + std::llround(static_cast<double>(width) * std::clamp((score - low) / (high - low), 0.0, 1.0));
}

int64_t HistogramImage::row_of(double spectra) const {
  const double share = std::log(std::max(spectra, least) / least) / std::log(most / least);
  return top + std::llround(static_cast<double>(height) * (1 - std::min(share, 1.0)));
}

HistogramImage draw_histogram(std::span<const float> scores, std::span<const uint8_t> mask,
                              const HistogramOptions& options) {
  expect(mask.empty() || mask.size() == scores.size(), "a histogram's mask does not match its scores");
  const ScoreHistogram counted = score_histogram(scores, map_limits(scores, mask, options.threshold));
  const std::vector<std::pair<double, double>> null = null_per_bin(counted, options.null_curve);
  const auto bins = std::ssize(counted.counts);

  HistogramImage plot;
  plot.low = counted.low;
  plot.high = counted.high;
  plot.least = 0.7;
  plot.most = static_cast<double>(*std::max_element(counted.counts.begin(), counted.counts.end()));
  const double at_most = 10 * plot.most;  // a null that is far off does not flatten the bars
  for (const auto& [score, count] : null) plot.most = std::max(plot.most, std::min(count, at_most));
  plot.most = 1.3 * std::max(plot.most, 9.0);
  plot.width = bins * bar_width;
  plot.height = plot_height;
  plot.left = margin + tick_length + 4 +
              std::llround(text_width(count_text(static_cast<int64_t>(plot.most)), text_height));
  plot.top = 2 * margin + static_cast<int64_t>(text_height);
  plot.image =
      Image(plot.left + plot.width + 3 * margin,
            plot.top + plot.height + tick_length + 3 * margin + 2 * static_cast<int64_t>(text_height), white);

  draw_axes(plot);
  const int64_t bottom = plot.top + plot.height;
  for (int64_t bin = 0; bin < bins; ++bin) {
    const auto count = static_cast<double>(counted.counts[static_cast<size_t>(bin)]);
    if (count == 0) continue;
    const double centre = plot.low + (static_cast<double>(bin) + 0.5) * counted.bin_width();
    const int64_t row = plot.row_of(count);
    plot.image.fill(plot.left + bin * bar_width, row, bar_width - 1, bottom - row,
                    options.threshold && centre > *options.threshold ? anomalous : normal);
  }
  draw_null(plot, null);
  plot.image.fill(plot.left, bottom, plot.width, 1, ink);
  plot.image.fill(plot.left, plot.top, 1, plot.height, ink);
  if (options.threshold && *options.threshold >= plot.low && *options.threshold <= plot.high) {
    const int64_t column = plot.column_of(*options.threshold);
    const std::string label = "threshold " + number_text(*options.threshold);
    const double wide = text_width(label, text_height);
    plot.image.fill(column - 1, plot.top - 8, 2, plot.height + 8, ink);
    // Beside the line, on the side that has room.
    const bool to_left = column > plot.left + plot.width / 2;
    draw_text(plot.image, static_cast<double>(column) + (to_left ? -8 - wide : 8),
              static_cast<double>(plot.top) - 2, text_height, label, ink);
  }
  return plot;
}

}  // namespace eelsvae
