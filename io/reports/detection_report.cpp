#include "io/reports/detection_report.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/image/excluded.h"
#include "io/config/config.h"
#include "io/config/config_fields.h"
#include "io/files/number_text.h"
#include "io/reports/detection_findings.h"
#include "io/reports/embedded_arrays.h"
#include "io/reports/map_style.h"
#include "io/reports/page.h"
#include "io/reports/score_histogram.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using nlohmann::json;

std::string percent(double share) {
  return number_text(100 * share) + " %";
}

// How the threshold was found.
std::string threshold_text(const DetectionConfig& config) {
  if (config.threshold) return "given";
  return keeps_rate(config.threshold_method) ? "false-discovery rate"
                                             : std::string(name_of(config.threshold_method));
}

std::string headline(const DetectionReport& report) {
  const int64_t pixels = report.prepared.pixels() - excluded_pixels(report.prepared.excluded),
                found = report.detection.anomalous_pixels();
  const DetectionConfig& config = report.config.detection;
  std::string text = pixels == 1 ? "The only spectrum fits" : "All " + count_text(pixels) + " spectra fit";
  if (found > 0)
    text = count_text(found) + " of " + count_text(pixels) + (pixels == 1 ? " spectrum " : " spectra ") +
           (found == 1 ? "does" : "do") + " not fit (" +
           percent(static_cast<double>(found) / static_cast<double>(pixels)) + ")";
  if (config.threshold_by_rate()) return text + ", at a false-discovery rate of " + percent(config.fdr);
  return text + ", threshold " + number_text(report.detection.threshold) + " (" + threshold_text(config) +
         ")";
}

std::string found_text(const DetectionMetrics& m) {
  return count_text(m.true_positives) + " of " + count_text(m.true_positives + m.false_negatives) +
         " known anomalies found, " + (m.false_positives == 0 ? "no" : count_text(m.false_positives)) +
         " false alarm" + (m.false_positives == 1 ? "" : "s");
}

json sublines(const DetectionReport& report) {
  json lines = json::array();
  const auto false_ones = report.detection.expected_false_alarms();
  const int64_t found = report.detection.anomalous_pixels();
  if (false_ones && found > 0 && report.detection.trusted() &&
      !report.config.detection.threshold_by_held_out()) {
    const int64_t count = std::min<int64_t>(std::llround(*false_ones), found);
    lines.push_back((count == 0 ? "None" : "About " + count_text(count)) + " of them " +
                    (count <= 1 ? "is" : "are") + " expected to be false.");
  }
  auto add_excluded = [&](int64_t count, const char* text) {
    if (count > 0) lines.push_back(count_text(count) + (count == 1 ? " pixel is " : " pixels are ") + text);
  };
  const std::vector<uint8_t>& excluded = report.prepared.excluded;
  const int64_t aside = excluded_pixels(excluded, set_aside);
  add_excluded(aside, "set aside for want of counts or saturated (white).");
  add_excluded(excluded_pixels(excluded) - aside, "excluded (grey).");
  if (report.comparison) {
    lines.push_back(describe(*report.comparison) + ".");
    if (const std::string remark = remark_on(*report.comparison); !remark.empty())
      lines.push_back(remark + ".");
  }
  if (const auto& m = report.metrics) lines.push_back(found_text(*m) + ".");
  return lines;
}

json doubts(const Detection& found) {
  json lines = json::array();
  for (const std::string& doubt : found.doubts) lines.push_back("Not to be trusted: " + doubt + ".");
  return lines;
}

json origin(const DetectionReport& report) {
  const Axis &y = report.prepared.y, &x = report.prepared.x, &energy = report.prepared.energy;
  json parts = {"Data: " + report.data_file,
                count_text(y.size) + " \u00d7 " + count_text(x.size) + " pixels (y, x)"};
  std::string channels = count_text(energy.size) + (energy.size == 1 ? " channel" : " channels");
  if (!energy.units.empty())
    channels += ", " + number_text(energy.value(0)) + " to " +
                number_text(energy.value(static_cast<double>(energy.size - 1))) + " " + energy.units;
  parts.push_back(channels);
  parts.push_back("Model: " + report.model);
  parts.push_back("Score: " + report.score_name());
  return parts;
}

json metrics(const std::optional<DetectionMetrics>& m) {
  if (!m) return nullptr;
  json rows = json::array();  // of pairs, which in braces alone would become an object
  const auto add = [&rows](const char* name, auto value) { rows.push_back(json::array({name, value})); };
  if (m->true_positives + m->false_negatives > 0) {  // else there is nothing to be found
    add("F1", m->f1);
    add("precision", m->precision);
    add("recall", m->recall);
  }
  for (const auto& [key, heading, value] : ranking_measures<std::optional<double>>)
    if ((*m).*value) add(heading, *((*m).*value));
  add("found", m->true_positives);
  add("missed", m->false_negatives);
  add("false alarms", m->false_positives);
  add("rightly left", m->true_negatives);
  return rows;
}

json history(const std::vector<EpochRecord>& records) {
  json entries;
  for (const EpochRecord& r : records)
    entries.push_back({{"epoch", r.epoch},
                       {"train", finite_json(r.training.loss)},
                       {"validation", r.validation ? finite_json(r.validation->loss) : json(nullptr)}});
  return entries;
}

// Bytes of maps and spectra in a report, before base64 makes 4 of 3.
constexpr int64_t total_budget = 6'000'000;
constexpr int64_t full_resolution_budget = 1'000'000;  // of it for the highest scores, if not all spectra fit
constexpr int64_t spectra_budget_at_least = 1'500'000;
constexpr int64_t fewest_channels = 256;  // averaging over channels stops here, then pixels are left out
constexpr int64_t ranking_size = 100;

// Bytes of what a pixel takes besides its spectrum.
int64_t map_bytes(const DetectionReport& report) {
  return 15 + !report.detection.regions.empty() + 5 * std::ssize(report.beside);
}

// pixel_list: null where the pixels are a grid of every `step`-th row and column.
template <typename T>
json spectra_table(const DetectionReport& report, const std::vector<int64_t>& pixels, json pixel_list,
                   int64_t step, int64_t bin) {
  const int64_t channels = report.prepared.energy.size;
  json table = {{"pixels", std::move(pixel_list)},
                {"step", step},
                {"bin", bin},
                {"channels", (channels + bin - 1) / bin},
                {"bits", 8 * sizeof(T)}};
  std::tie(table["observed"], table["observedRange"]) =
      packed_spectra<T>(report.prepared.counts, channels, pixels, bin);
  std::tie(table["reconstruction"], table["reconstructionRange"]) =
      packed_spectra<T>(report.expectation.spectra, channels, pixels, bin);
  return table;
}

json spectra(const DetectionReport& report, const std::vector<int64_t>& by_score) {
  const int64_t rows = report.prepared.y.size, columns = report.prepared.x.size,
                channels = report.prepared.energy.size, pixels = rows * columns;
  const int64_t budget = std::max(total_budget - map_bytes(report) * pixels, spectra_budget_at_least);

  constexpr int64_t range_bytes = 2 * sizeof(float);  // of every spectrum
  const int64_t full_bytes = 2 * (channels * 2 + range_bytes);
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
    return ((rows + step - 1) / step) * ((columns + step - 1) / step) * 2 *
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

json histogram(const Detection& found) {
  const ScoreHistogram counted = score_histogram(found);
  return {{"low", counted.low},
          {"high", counted.high},
          {"counts", counted.counts},
          {"beyond", counted.beyond},
          {"null", counted.null}};
}

bool is_excluded(const DetectionReport& report, int64_t pixel, uint8_t why = 0xff) {
  return !report.prepared.excluded.empty() && (report.prepared.excluded[pixel] & why) != 0;
}

// null where there is no normal spectrum.
json mean_of_normal_spectra(const DetectionReport& report) {
  std::vector<double> sum(static_cast<size_t>(report.prepared.energy.size), 0.0);
  int64_t normal = 0;
  for (int64_t pixel = 0; pixel < report.prepared.pixels(); ++pixel) {
    if (report.detection.mask[pixel] != 0 || is_excluded(report, pixel)) continue;
    ++normal;
    const float* spectrum = report.prepared.spectrum(pixel);
    for (size_t e = 0; e < sum.size(); ++e) sum[e] += spectrum[e];
  }
  std::vector<float> mean(sum.size());
  for (size_t e = 0; e < sum.size(); ++e) mean[e] = static_cast<float>(sum[e] / static_cast<double>(normal));
  return normal > 0 ? json(base64(mean)) : json(nullptr);
}

std::vector<float> mean_intensity(const SpectrumImage& image) {
  std::vector<float> mean;
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel) {
    const float* spectrum = image.spectrum(pixel);
    mean.push_back(static_cast<float>(std::accumulate(spectrum, spectrum + image.energy.size, 0.0) /
                                      static_cast<double>(image.energy.size)));
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
  const std::string& units = report.prepared.energy.units;
  return {layer(report, "mean intensity", mean_intensity(report.prepared)),
          layer(report, "energy of the deviation" + (units.empty() ? "" : " (" + units + ")"),
                deviation_energies(report.detection, report.prepared.energy))};
}

// What the report's own expectation finds, then others with their maps, each in its own colours, for their
// scores may have other units. Empty where there are no others.
json beside(const DetectionReport& report) {
  json maps = json::array();
  const auto add = [&](const std::string& name, const Detection& found,
                       const std::optional<DetectionMetrics>& metrics) -> json& {
    json lines = {count_text(found.anomalous_pixels()) + " do not fit" +
                  (found.trusted() ? "" : ", not to be trusted")};
    if (metrics) lines.push_back(found_text(*metrics));
    return maps.emplace_back(json({{"name", name}, {"lines", lines}}));
  };
  if (!report.beside.empty()) add(report.model, report.detection, report.metrics);
  for (const DetectionReport::Beside& other : report.beside)
    add(other.name + (other.score == report.score_name() ? "" : ", score " + other.score), other.found,
        other.metrics)
        .update({{"limits", map_limits(other.found.scores, other.found.mask, other.found.threshold)},
                 {"scores", base64(other.found.scores)},
                 {"mask", base64(other.found.mask)}});
  return maps;
}

void check(const DetectionReport& report) {
  const size_t pixels = static_cast<size_t>(report.prepared.pixels());
  const Detection& found = report.detection;
  expect(pixels > 0 && report.prepared.energy.size > 0, "a report's image is not empty");
  expect(found.scores.size() == pixels && found.mask.size() == pixels && found.deviations.size() == pixels,
         "a report's maps match its image");
  expect(report.truth.empty() || report.truth.size() == pixels, "a report's truth matches its image");
  expect(report.expectation.spectra.size() == report.prepared.counts.size(),
         "a report's expected spectra match its image");
  for (const DetectionReport::Beside& other : report.beside)
    expect(other.found.scores.size() == pixels && other.found.mask.size() == pixels,
           "a report's maps of other expectations match its image");
}

}  // namespace

std::string render_report(const DetectionReport& report) {
  check(report);
  const SpectrumImage& image = report.prepared;
  const Detection& found = report.detection;
  const int64_t pixels = image.pixels();
  std::vector<int64_t> by_score(static_cast<size_t>(pixels));
  std::iota(by_score.begin(), by_score.end(), 0);
  auto rank = [&](int64_t pixel) {
    const float score = found.scores[pixel];
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
    flags[i] = static_cast<uint8_t>((found.mask[i] != 0 ? 1 : 0) +
                                    (!report.truth.empty() && report.truth[i] != 0 ? 2 : 0) +
                                    (is_excluded(report, static_cast<int64_t>(i)) ? 4 : 0) +
                                    (is_excluded(report, static_cast<int64_t>(i), set_aside) ? 8 : 0));
  }
  const ScaleBar bar = scale_bar(image.x);
  const DetectionConfig& config = report.config.detection;
  json window;  // to the outer edges of its first and last channel
  if (config.window)
    window = {finite_json(image.energy.value(static_cast<double>(found.window.first) - 0.5)),
              finite_json(image.energy.value(static_cast<double>(found.window.last) - 0.5))};
  return render_page("detection.html", {{"title", image.title.empty() ? "Anomalous spectra" : image.title},
                                        {"headline", headline(report)},
                                        {"doubts", doubts(found)},
                                        {"sublines", sublines(report)},
                                        {"origin", origin(report)},
                                        {"rows", image.y.size},
                                        {"columns", image.x.size},
                                        {"aspect", pixel_aspect(image.y, image.x)},
                                        {"y", axis_json(image.y)},
                                        {"x", axis_json(image.x)},
                                        {"energy", axis_json(image.energy)},
                                        {"scaleBar", bar.pixels},
                                        {"scaleLabel", bar.label},
                                        {"palette", base64<Colour>(viridis())},
                                        {"limits", map_limits(found.scores, found.mask, found.threshold)},
                                        {"scores", base64(found.scores)},
                                        {"threshold", finite_json(found.threshold)},
                                        {"thresholdMethod", threshold_text(config)},
                                        {"flags", base64(flags)},
                                        {"hasTruth", !report.truth.empty()},
                                        {"window", window},
                                        {"histogram", histogram(found)},
                                        {"ranking", ranking},
                                        {"spectra", spectra(report, by_score)},
                                        {"layers", layers(report)},
                                        {"beside", beside(report)},
                                        {"deviations", deviations_data(found, by_score)},
                                        {"regions", regions_data(found, image.energy, config.elements)},
                                        {"latent", latent_data(found, report.expectation, image.x.size)},
                                        {"normalMean", mean_of_normal_spectra(report)},
                                        {"metrics", metrics(report.metrics)},
                                        {"history", history(report.history)},
                                        {"versions", describe(report.provenance)},
                                        {"configuration", to_json_text(report.config)}});
}

}  // namespace eelsvae
