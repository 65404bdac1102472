#include "io/reports/report_data.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "io/reports/embedded_arrays.h"
#include "io/reports/map_image.h"
#include "io/reports/report_findings.h"
#include "io/reports/score_histogram.h"

namespace eelsvae {
namespace {

using nlohmann::json;

// Bytes of maps and spectra in a report, before base64 makes 4 of 3.
constexpr int64_t total_budget = 6'000'000;
constexpr int64_t full_resolution_budget = 1'000'000;  // of it for the highest scores, if not all spectra fit
constexpr int64_t spectra_budget_at_least = 1'500'000;
constexpr int64_t fewest_channels = 256;  // averaging over channels stops here, then pixels are left out
constexpr int64_t ranking_size = 100;

// Bytes of what a pixel takes besides its spectrum.
int64_t map_bytes(const DetectionReport& report) {
  return 5 + !report.observed.empty() + !report.regions.empty() + std::ssize(report.layers) +
         (report.deviations.empty() ? 0 : 1 + 8);
}

// pixel_list: null where the pixels are a grid of every `step`-th row and column.
template <typename T>
json spectra_table(const DetectionReport& report, const std::vector<int64_t>& pixels, json pixel_list,
                   int64_t step, int64_t bin) {
  const int64_t channels = report.energy.size;
  json table = {
      {"pixels", std::move(pixel_list)},        {"step", step},          {"bin", bin},
      {"channels", (channels + bin - 1) / bin}, {"bits", 8 * sizeof(T)}, {"reconstruction", nullptr}};
  std::tie(table["observed"], table["observedRange"]) =
      packed_spectra<T>(report.observed, channels, pixels, bin);
  if (!report.reconstruction.empty()) {
    std::tie(table["reconstruction"], table["reconstructionRange"]) =
        packed_spectra<T>(report.reconstruction, channels, pixels, bin);
  }
  return table;
}

json spectra(const DetectionReport& report, const std::vector<int64_t>& by_score) {
  if (report.observed.empty()) return json::array();
  const int64_t rows = report.y.size, columns = report.x.size, channels = report.energy.size;
  const int64_t pixels = rows * columns, cubes = report.reconstruction.empty() ? 1 : 2;
  const int64_t budget = std::max(total_budget - map_bytes(report) * pixels, spectra_budget_at_least);

  constexpr int64_t range_bytes = 2 * sizeof(float);  // of every spectrum
  const int64_t full_bytes = cubes * (channels * 2 + range_bytes);
  if (pixels <= budget / full_bytes) {
    std::vector<int64_t> all(static_cast<size_t>(pixels));
    std::iota(all.begin(), all.end(), 0);
    return json::array({spectra_table<uint16_t>(report, all, nullptr, 1, 1)});
  }
  json tables = json::array();
  const int64_t full = std::min(pixels, full_resolution_budget / full_bytes);
  if (full > 0) {
    const std::vector<int64_t> highest(by_score.begin(), by_score.begin() + full);
    tables.push_back(spectra_table<uint16_t>(report, highest, highest, 1, 1));
  }
  const int64_t left = budget - full * full_bytes;
  int64_t bin = 1, step = 1;
  auto bytes = [&] {
    return ((rows + step - 1) / step) * ((columns + step - 1) / step) * cubes *
           ((channels + bin - 1) / bin + range_bytes);
  };
  while (bytes() > left && (channels + bin) / (bin + 1) >= fewest_channels) ++bin;
  while (bytes() > left && step < std::max(rows, columns)) ++step;
  for (bin = 1; bytes() > left && bin < channels;) ++bin;  // as fine as this grid allows
  std::vector<int64_t> grid;
  for (int64_t row = 0; row < rows; row += step) {
    for (int64_t column = 0; column < columns; column += step) grid.push_back(row * columns + column);
  }
  tables.push_back(spectra_table<uint8_t>(report, grid, nullptr, step, bin));
  return tables;
}

json histogram(const DetectionReport& report, std::array<double, 2> limits) {
  const ScoreHistogram counted = score_histogram(report.scores, limits);
  json data = {{"low", counted.low},
               {"high", counted.high},
               {"counts", counted.counts},
               {"beyond", counted.beyond},
               {"null", json::array()}};
  for (const auto& [score, count] : null_per_bin(counted, report.null_curve))
    data["null"].push_back({score, count});
  return data;
}

bool is_excluded(const DetectionReport& report, int64_t pixel) {
  return !report.excluded.empty() && report.excluded[pixel] != 0;
}

std::string mean_of_normal_spectra(const DetectionReport& report) {
  std::vector<double> sum(static_cast<size_t>(report.energy.size), 0.0);
  int64_t normal = 0;
  for (int64_t pixel = 0; pixel < report.y.size * report.x.size; ++pixel) {
    if (report.mask[pixel] != 0 || is_excluded(report, pixel)) continue;
    ++normal;
    const float* spectrum = report.observed.data() + pixel * report.energy.size;
    for (size_t e = 0; e < sum.size(); ++e) sum[e] += spectrum[e];
  }
  std::vector<float> mean(sum.size());
  for (size_t e = 0; e < sum.size(); ++e) mean[e] = static_cast<float>(sum[e] / static_cast<double>(normal));
  return normal > 0 ? base64(mean) : "";
}

std::vector<float> mean_intensity(const DetectionReport& report) {
  const int64_t channels = report.energy.size;
  std::vector<float> mean(report.scores.size());
  for (size_t pixel = 0; pixel < mean.size(); ++pixel) {
    const auto spectrum =
        report.observed.subspan(pixel * static_cast<size_t>(channels), static_cast<size_t>(channels));
    mean[pixel] = static_cast<float>(std::accumulate(spectrum.begin(), spectrum.end(), 0.0) /
                                     static_cast<double>(channels));
  }
  return mean;
}

// A map in steps from 1 to 255; 0 where it has no value or the pixel is excluded.
json layer(const DetectionReport& report, const std::string& name, std::vector<float> values) {
  for (size_t pixel = 0; pixel < values.size(); ++pixel)
    if (is_excluded(report, static_cast<int64_t>(pixel)))
      values[pixel] = std::numeric_limits<float>::quiet_NaN();
  const auto [low, high] = robust_limits(values);
  std::vector<uint8_t> steps;
  quantise<uint8_t>(values, {static_cast<float>(low), static_cast<float>(high)}, steps, 1);
  return {{"name", name}, {"low", low}, {"high", high}, {"values", base64(steps)}};
}

json layers(const DetectionReport& report) {
  json result = json::array();
  if (!report.observed.empty()) result.push_back(layer(report, "mean intensity", mean_intensity(report)));
  if (!report.deviations.empty()) {
    const std::string units = report.energy.units.empty() ? "" : " (" + report.energy.units + ")";
    result.push_back(layer(report, "energy of the deviation" + units, deviation_energies(report)));
  }
  for (const MapLayer& more : report.layers)
    result.push_back(layer(report, more.name, {more.values.begin(), more.values.end()}));
  return result;
}

}  // namespace

nlohmann::json report_data(const DetectionReport& report) {
  const int64_t pixels = report.y.size * report.x.size;
  std::vector<int64_t> by_score(static_cast<size_t>(pixels));
  std::iota(by_score.begin(), by_score.end(), 0);
  auto rank = [&](int64_t pixel) {
    const float score = report.scores[pixel];
    return std::isnan(score) ? -std::numeric_limits<float>::infinity() : score;
  };
  std::stable_sort(by_score.begin(), by_score.end(), [&](int64_t a, int64_t b) { return rank(a) > rank(b); });
  std::vector<int64_t> ranking;
  for (int64_t pixel : by_score) {
    if (std::ssize(ranking) == ranking_size) break;
    if (!is_excluded(report, pixel)) ranking.push_back(pixel);
  }

  std::vector<uint8_t> flags(static_cast<size_t>(pixels));
  for (size_t i = 0; i < flags.size(); ++i) {
    flags[i] = static_cast<uint8_t>((report.mask[i] != 0 ? 1 : 0) +
                                    (!report.truth.empty() && report.truth[i] != 0 ? 2 : 0) +
                                    (is_excluded(report, static_cast<int64_t>(i)) ? 4 : 0));
  }
  const std::array<double, 2> limits = map_limits(report.scores, report.mask, report.threshold);
  const ScaleBar bar = scale_bar(report.x);
  const auto palette = std::span<const uint8_t>(viridis().front().data(), 3 * viridis().size());
  json data = {{"rows", report.y.size},
               {"columns", report.x.size},
               {"aspect", pixel_aspect(report.y, report.x)},
               {"y", axis_json(report.y)},
               {"x", axis_json(report.x)},
               {"energy", axis_json(report.energy)},
               {"scaleBar", {{"pixels", bar.pixels}, {"label", bar.label}}},
               {"palette", base64(palette)},
               {"limits", limits},
               {"scores", base64(report.scores)},
               {"threshold", report.threshold ? finite_json(*report.threshold) : json(nullptr)},
               {"thresholdMethod", report.threshold_method},
               {"flags", base64(flags)},
               {"hasTruth", !report.truth.empty()},
               {"window", nullptr},
               {"intensityLabel", report.intensity_label},
               {"histogram", histogram(report, limits)},
               {"ranking", ranking},
               {"spectra", spectra(report, by_score)},
               {"layers", layers(report)},
               {"deviations", deviations_data(report, by_score)},
               {"regions", regions_data(report)},
               {"latent", latent_data(report)},
               {"normalMean", nullptr},
               {"history", json::array()}};
  if (report.window) {
    // To the outer edges of its first and last channel.
    data["window"] = {finite_json(report.energy.value(static_cast<double>((*report.window)[0]) - 0.5)),
                      finite_json(report.energy.value(static_cast<double>((*report.window)[1]) - 0.5))};
  }
  if (!report.observed.empty())
    if (std::string mean = mean_of_normal_spectra(report); !mean.empty()) data["normalMean"] = mean;
  for (const TrainingEpoch& entry : report.history) {
    data["history"].push_back(
        {{"epoch", entry.epoch},
         {"train", finite_json(entry.train_loss)},
         {"validation", entry.validation_loss ? finite_json(*entry.validation_loss) : json(nullptr)}});
  }
  return data;
}

}  // namespace eelsvae
