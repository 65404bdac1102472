#include "io/run/detect_folder.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "engine/image/excluded.h"
#include "io/config/config.h"
#include "io/config/config_fields.h"
#include "io/files/atomic_file.h"
#include "io/files/npy.h"
#include "io/formats/hspy.h"
#include "io/reports/histogram_image.h"
#include "io/reports/map_image.h"
#include "io/reports/png.h"
#include "io/reports/report.h"

namespace eelsvae {
namespace {

nlohmann::ordered_json summarize(const DetectionOutput& o) {
  const Axis& energy = o.prepared.energy;
  const ChannelWindow& window = o.detection.window;
  const int64_t excluded = excluded_pixels(o.prepared.excluded);
  auto or_null = [](const std::optional<double>& value) {
    return value ? nlohmann::ordered_json(*value) : nullptr;
  };
  nlohmann::ordered_json summary = {
      {"data", o.data_file},
      {"model", o.model},
      {"score", o.expectation.own_scores.empty() ? name_of(o.config.detection.score) : "own"},
      {"window_ev",
       {energy.value(static_cast<double>(window.first)), energy.value(static_cast<double>(window.last - 1))}},
      {"threshold", o.detection.threshold},
      {"threshold_method",
       o.config.detection.threshold ? "given" : name_of(o.config.detection.threshold_method)},
      {"anomalous_pixels", o.detection.anomalous_pixels()},
      {"pixels", o.prepared.pixels() - excluded},
      {"excluded_pixels", excluded},
      {"set_aside",
       {{"without_counts", excluded_pixels(o.prepared.excluded, without_counts)},
        {"saturated", excluded_pixels(o.prepared.excluded, saturated)}}},
      {"regions", o.detection.regions.size()}};
  const DetectionConfig& detection = o.config.detection;
  summary["trusted"] = o.detection.trusted();
  summary["reasons"] = o.detection.doubts;
  if (detection.threshold_by_rate()) summary["fdr"] = detection.fdr;
  if (const std::optional<EmpiricalNull>& null = o.detection.null) {
    summary["expected_false_alarms"] = *o.detection.expected_false_alarms();
    summary["null"] = {{"family", name(null->family)},
                       {"location", null->location},
                       {"scale", null->scale},
                       {"normal_share", null->normal_share},
                       {"fitted_to", {null->low, null->high}},
                       {"chi_square_per_degree", null->misfit}};
  }
  if (o.metrics) {
    summary["f1"] = o.metrics->f1;
    summary["precision"] = o.metrics->precision;
    summary["recall"] = o.metrics->recall;
    summary["roc_auc"] = or_null(o.metrics->roc_auc);
    summary["average_precision"] = or_null(o.metrics->average_precision);
  }
  for (const auto& [name, version] : o.versions) summary["versions"][name] = version;
  return summary;
}

// What the null expects, for the histogram: (score, spectra per unit of score).
std::vector<std::pair<double, double>> null_curve(const Detection& found) {
  std::vector<std::pair<double, double>> curve;
  if (!found.null) return curve;
  std::vector<float> scores = found.scores;
  std::erase_if(scores, [](float score) { return std::isnan(score); });
  const auto [least, greatest] = std::minmax_element(scores.begin(), scores.end());
  const double low = *least, reach = *greatest - low;
  const double spectra = static_cast<double>(scores.size()) * found.null->normal_share;
  constexpr int points = 400;
  for (int i = 0; i <= points; ++i) {
    const double score = low + reach * i / points;
    curve.emplace_back(score, spectra * found.null->density(score));
  }
  return curve;
}

DetectionReport make_report(const DetectionOutput& o) {
  DetectionReport report;
  report.title = o.prepared.title;
  report.data_file = o.data_file;
  report.model = o.model;
  report.score = o.expectation.own_scores.empty() ? name_of(o.config.detection.score) : "own";
  report.y = o.prepared.y;
  report.x = o.prepared.x;
  report.energy = o.prepared.energy;
  report.scores = o.detection.scores;
  report.threshold = o.detection.threshold;
  report.mask = o.detection.mask;
  report.excluded = o.prepared.excluded;
  report.truth = o.truth;
  if (o.config.detection.window) report.window = {o.detection.window.first, o.detection.window.last};
  const DetectionConfig& detection = o.config.detection;
  const bool by_rate = detection.threshold_by_rate();
  report.threshold_method = detection.threshold ? "given" : by_rate ? "false-discovery rate" : "Otsu";
  if (by_rate) report.false_discovery_rate = detection.fdr;
  report.false_discoveries = o.detection.expected_false_alarms();
  report.null_curve = null_curve(o.detection);
  report.deviations = o.detection.deviations;
  report.regions = o.detection.regions;
  if (const std::optional<TileGrid>& grid = o.expectation.grid)
    report.latent = LatentTiles{o.expectation.latent, grid->origins, grid->tile};
  report.observed = o.prepared.counts;
  report.reconstruction = o.expectation.spectra;
  if (o.metrics) {
    report.metrics = {
        {"F1", o.metrics->f1}, {"precision", o.metrics->precision}, {"recall", o.metrics->recall}};
    if (o.metrics->roc_auc) report.metrics.emplace_back("ROC-AUC", *o.metrics->roc_auc);
    if (o.metrics->average_precision)
      report.metrics.emplace_back("average precision", *o.metrics->average_precision);
  }
  for (const EpochRecord& record : o.history)
    report.history.push_back({record.epoch, record.training.loss,
                              record.validation ? std::optional(record.validation->loss) : std::nullopt});
  report.configuration = to_json_text(o.config);
  report.versions = o.versions;
  return report;
}

}  // namespace

uint64_t detect_folder_bytes(const SpectrumImage& prepared, bool save_reconstruction) {
  const uint64_t pixels = static_cast<uint64_t>(prepared.pixels());
  const uint64_t cube = pixels * static_cast<uint64_t>(prepared.energy.size) * sizeof(float);
  constexpr uint64_t report = 16 << 20;
  return report + pixels * 16 + (save_reconstruction ? cube : 0);
}

void write_detect_folder(const std::filesystem::path& folder, const DetectionOutput& o) {
  const std::vector<int64_t> shape = {o.prepared.y.size, o.prepared.x.size};
  const nlohmann::ordered_json summary = summarize(o);
  write_npy(folder / "scores.npy", shape, o.detection.scores.data());
  write_npy(folder / "mask.npy", shape, o.detection.mask.data());
  if (o.save_reconstruction)
    write_npy(folder / "reconstruction.npy", {shape[0], shape[1], o.prepared.energy.size},
              o.expectation.spectra.data());
  write_hspy_map(folder / "scores.hspy", "eelsvae scores of " + o.prepared.title, o.prepared.y, o.prepared.x,
                 o.detection.scores.data(), nlohmann::json({{"eelsvae", summary}}).dump());
  write_png(folder / "scores.png", draw_map(o.detection.scores, o.prepared.y, o.prepared.x, o.detection.mask,
                                            {.limits = {}, .threshold = o.detection.threshold})
                                       .image);
  write_png(folder / "histogram.png", draw_histogram(o.detection.scores, o.detection.mask,
                                                     {o.detection.threshold, null_curve(o.detection)})
                                          .image);
  write_file(folder / "report.html", render_report(make_report(o)));
  // Last: whoever sees the summary may rely on the rest.
  write_file(folder / "summary.json", summary.dump(2) + "\n");
}

}  // namespace eelsvae
