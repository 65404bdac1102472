#include "io/report_data.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "io/map_image.h"

namespace eelsvae {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little,
              "browsers read the embedded arrays as little-endian");

// Bytes of maps and spectra in a report, before base64 makes 4 of 3.
constexpr int64_t total_budget = 6'000'000;
constexpr int64_t full_resolution_budget = 1'000'000;  // of it for the highest scores, if not all spectra fit
constexpr int64_t spectra_budget_at_least = 1'500'000;
constexpr int64_t fewest_channels = 256;  // averaging over channels stops here, then pixels are left out
constexpr int64_t ranking_size = 100;

template <typename T>
std::string base64(std::span<const T> values) {
  static constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
  const size_t size = values.size_bytes();
  std::string text;
  text.reserve((size + 2) / 3 * 4);
  for (size_t i = 0; i < size; i += 3) {
    const size_t left = std::min<size_t>(3, size - i);
    const uint32_t group =
        bytes[i] << 16 | (left > 1 ? bytes[i + 1] << 8 : 0) | (left > 2 ? bytes[i + 2] : 0);
    text += digits[group >> 18];
    text += digits[group >> 12 & 63];
    text += left > 1 ? digits[group >> 6 & 63] : '=';
    text += left > 2 ? digits[group & 63] : '=';
  }
  return text;
}

template <typename T>
std::string base64(const std::vector<T>& values) {
  return base64(std::span<const T>(values));
}

std::array<float, 2> finite_range(std::span<const float> values) {
  float low = std::numeric_limits<float>::max(), high = std::numeric_limits<float>::lowest();
  for (float v : values) {
    if (!std::isfinite(v)) continue;
    low = std::min(low, v);
    high = std::max(high, v);
  }
  return low <= high ? std::array{low, high} : std::array{0.0f, 0.0f};
}

// Values as whole steps from 0 (low) to the type's maximum (high). What is not finite becomes the lowest.
template <typename T>
void quantise(std::span<const float> values, std::array<float, 2> range, std::vector<T>& steps) {
  const double full = std::numeric_limits<T>::max(), width = static_cast<double>(range[1]) - range[0];
  for (float v : values) {
    const double share = width > 0 && std::isfinite(v) ? (v - static_cast<double>(range[0])) / width : 0;
    steps.push_back(static_cast<T>(std::lround(full * std::clamp(share, 0.0, 1.0))));
  }
}

// One cube's spectra at the given pixels, averaged over `bin` channels, each with its own range.
template <typename T>
std::pair<std::string, std::string> packed(std::span<const float> cube, int64_t channels,
                                           const std::vector<int64_t>& pixels, int64_t bin) {
  std::vector<T> steps;
  std::vector<float> ranges, spectrum;
  steps.reserve(pixels.size() * static_cast<size_t>((channels + bin - 1) / bin));
  for (int64_t pixel : pixels) {
    spectrum.clear();
    for (int64_t first = 0; first < channels; first += bin) {
      const int64_t past = std::min(first + bin, channels);
      double sum = 0;
      for (int64_t e = first; e < past; ++e) sum += cube[pixel * channels + e];
      spectrum.push_back(static_cast<float>(sum / static_cast<double>(past - first)));
    }
    const std::array<float, 2> range = finite_range(spectrum);
    ranges.insert(ranges.end(), range.begin(), range.end());
    quantise<T>(spectrum, range, steps);
  }
  return {base64(steps), base64(ranges)};
}

// pixel_list: null where the pixels are a grid of every `step`-th row and column.
template <typename T>
json spectra_table(const DetectionReport& report, const std::vector<int64_t>& pixels, json pixel_list,
                   int64_t step, int64_t bin) {
  const int64_t channels = report.energy.size;
  json table = {
      {"pixels", std::move(pixel_list)},        {"step", step},          {"bin", bin},
      {"channels", (channels + bin - 1) / bin}, {"bits", 8 * sizeof(T)}, {"reconstruction", nullptr}};
  std::tie(table["observed"], table["observedRange"]) = packed<T>(report.observed, channels, pixels, bin);
  if (!report.reconstruction.empty()) {
    std::tie(table["reconstruction"], table["reconstructionRange"]) =
        packed<T>(report.reconstruction, channels, pixels, bin);
  }
  return table;
}

json spectra(const DetectionReport& report, const std::vector<int64_t>& by_score) {
  if (report.observed.empty()) return json::array();
  const int64_t rows = report.y.size, columns = report.x.size, channels = report.energy.size;
  const int64_t pixels = rows * columns, cubes = report.reconstruction.empty() ? 1 : 2;
  const int64_t budget = std::max(total_budget - 6 * pixels, spectra_budget_at_least);

  const int64_t full_bytes = cubes * channels * 2;
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
    return ((rows + step - 1) / step) * ((columns + step - 1) / step) * cubes * ((channels + bin - 1) / bin);
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

// Counts of the finite scores over 80 equal bins. A few far outliers do not flatten the rest: what lies
// beyond the last bin is counted in it, and told as `beyond`.
json histogram(std::span<const float> scores, std::array<double, 2> limits) {
  const auto [least, greatest] = finite_range(scores);
  const double reach = limits[1] - limits[0];
  const double low = std::max<double>(least, limits[0] - reach);
  double high = std::max(limits[1], std::min<double>(greatest, limits[1] + 2 * reach));
  if (!(high > low)) high = low + reach;
  std::vector<int64_t> counts(80, 0);
  int64_t beyond = 0;
  for (float score : scores) {
    if (!std::isfinite(score)) continue;
    const double share = std::clamp((score - low) / (high - low), 0.0, 1.0);
    ++counts[std::min<size_t>(counts.size() - 1,
                              static_cast<size_t>(share * static_cast<double>(counts.size())))];
    beyond += score > high;
  }
  return {{"low", low}, {"high", high}, {"counts", counts}, {"beyond", beyond}};
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

std::string mean_intensity(const DetectionReport& report) {
  const int64_t channels = report.energy.size;
  std::vector<float> mean(report.scores.size(), std::numeric_limits<float>::quiet_NaN());
  for (size_t pixel = 0; pixel < mean.size(); ++pixel) {
    if (is_excluded(report, static_cast<int64_t>(pixel))) continue;
    const auto spectrum =
        report.observed.subspan(pixel * static_cast<size_t>(channels), static_cast<size_t>(channels));
    mean[pixel] = static_cast<float>(std::accumulate(spectrum.begin(), spectrum.end(), 0.0) /
                                     static_cast<double>(channels));
  }
  const auto [low, high] = robust_limits(mean);
  std::vector<uint8_t> steps;
  quantise<uint8_t>(mean, {static_cast<float>(low), static_cast<float>(high)}, steps);
  return base64(steps);
}

json finite(double value) {
  return std::isfinite(value) ? json(value) : json(nullptr);
}

json axis(const Axis& a) {
  return {{"offset", std::isfinite(a.offset) ? a.offset : 0},
          {"scale", std::isfinite(a.scale) ? a.scale : 1},
          {"units", a.units},
          {"size", a.size}};
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
               {"y", axis(report.y)},
               {"x", axis(report.x)},
               {"energy", axis(report.energy)},
               {"scaleBar", {{"pixels", bar.pixels}, {"label", bar.label}}},
               {"palette", base64(palette)},
               {"limits", limits},
               {"scores", base64(report.scores)},
               {"threshold", report.threshold ? finite(*report.threshold) : json(nullptr)},
               {"flags", base64(flags)},
               {"hasTruth", !report.truth.empty()},
               {"window", nullptr},
               {"intensityLabel", report.intensity_label},
               {"histogram", histogram(report.scores, limits)},
               {"ranking", ranking},
               {"spectra", spectra(report, by_score)},
               {"intensity", nullptr},
               {"normalMean", nullptr},
               {"history", json::array()}};
  if (report.window) {
    // To the outer edges of its first and last channel.
    data["window"] = {finite(report.energy.value(static_cast<double>((*report.window)[0]) - 0.5)),
                      finite(report.energy.value(static_cast<double>((*report.window)[1]) - 0.5))};
  }
  if (!report.observed.empty()) {
    data["intensity"] = mean_intensity(report);
    if (std::string mean = mean_of_normal_spectra(report); !mean.empty()) data["normalMean"] = mean;
  }
  for (const TrainingEpoch& entry : report.history) {
    data["history"].push_back(
        {{"epoch", entry.epoch},
         {"train", finite(entry.train_loss)},
         {"validation", entry.validation_loss ? finite(*entry.validation_loss) : json(nullptr)}});
  }
  return data;
}

}  // namespace eelsvae
