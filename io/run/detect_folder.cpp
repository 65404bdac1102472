#include "io/run/detect_folder.h"

#include <nlohmann/json.hpp>
#include <system_error>

#include "engine/image/excluded.h"
#include "io/config/comparison_json.h"
#include "io/config/config.h"
#include "io/config/config_fields.h"
#include "io/files/atomic_file.h"
#include "io/files/npy.h"
#include "io/formats/hspy.h"
#include "io/reports/detection_findings.h"
#include "io/reports/score_pictures.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

nlohmann::ordered_json summarize(const DetectionReport& o) {
  const Axis& energy = o.prepared.energy;
  const ChannelWindow& window = o.detection.window;
  const int64_t excluded = excluded_pixels(o.prepared.excluded);
  auto or_null = [](const std::optional<double>& value) {
    return value ? nlohmann::ordered_json(*value) : nullptr;
  };
  nlohmann::ordered_json summary = {
      {"data", o.data_file},
      {"model", o.model},
      {"score", o.score_name()},
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
      {"regions", o.detection.regions.size()},
      {"explanations", explanations_json(o.detection, o.config.detection.elements)}};
  const DetectionConfig& detection = o.config.detection;
  summary["trusted"] = o.detection.trusted();
  summary["reasons"] = o.detection.doubts;
  summary["remarks"] = nlohmann::json::array();
  if (const std::string remark = o.comparison ? remark_on(*o.comparison) : ""; !remark.empty())
    summary["remarks"].push_back(remark);
  summary["predictive_deviance"] = o.comparison ? to_json(*o.comparison) : nlohmann::json();
  if (detection.threshold_by_rate()) summary["fdr"] = detection.fdr;
  if (const std::optional<EmpiricalNull>& null = o.detection.null) {
    if (!detection.threshold_by_held_out())
      summary["expected_false_alarms"] = *o.detection.expected_false_alarms();
    summary["null"] = {{"family", name(null->family)},
                       {"location", null->location},
                       {"scale", null->scale},
                       {"normal_share", null->normal_share},
                       {"fitted_to", {null->low, null->high}},
                       {"chi_square_per_degree", null->misfit}};
  }
  if (o.metrics) {
    const bool none = o.metrics->true_positives + o.metrics->false_negatives == 0;  // to be found
    summary["f1"] = or_null(none ? std::nullopt : std::optional(o.metrics->f1));
    summary["precision"] = o.metrics->precision;
    summary["recall"] = or_null(none ? std::nullopt : std::optional(o.metrics->recall));
    for (const auto& [key, heading, value] : ranking_measures<std::optional<double>>)
      summary[key] = or_null((*o.metrics).*value);
  }
  summary.update(to_json(o.provenance));
  summary["configuration"] = nlohmann::ordered_json::parse(to_json_text(o.config));
  return summary;
}

}  // namespace

uint64_t detect_folder_bytes(const SpectrumImage& prepared, bool save_reconstruction) {
  const uint64_t pixels = static_cast<uint64_t>(prepared.pixels());
  const uint64_t cube = pixels * static_cast<uint64_t>(prepared.energy.size) * sizeof(float);
  constexpr uint64_t report = 16 << 20;
  return report + pixels * 16 + (save_reconstruction ? cube : 0);
}

void write_detect_folder(const std::filesystem::path& folder, const DetectionReport& o,
                         bool save_reconstruction) {
  const std::vector<int64_t> shape = {o.prepared.y.size, o.prepared.x.size};
  const nlohmann::ordered_json summary = summarize(o);
  // What an earlier detection left is replaced as a set: without a summary it is none any more.
  for (const char* file : {"summary.json", "reconstruction.npy"}) {
    std::error_code error;
    std::filesystem::remove(folder / file, error);
    if (error) throw UserError("cannot replace " + (folder / file).string() + ": " + error.message());
  }
  Config config = o.config;
  config.data.data_path = o.data_file;
  write_file(folder / "config.json", to_json_text(config));
  write_npy(folder / "scores.npy", shape, o.detection.scores.data());
  write_npy(folder / "mask.npy", shape, o.detection.mask.data());
  if (save_reconstruction)
    write_npy(folder / "reconstruction.npy", {shape[0], shape[1], o.prepared.energy.size},
              o.expectation.spectra.data());
  write_hspy_map(folder / "scores.hspy", "eelsvae scores of " + o.prepared.title, o.prepared.y, o.prepared.x,
                 o.detection.scores.data(), nlohmann::json({{"eelsvae", summary}}).dump());
  write_score_map(folder / "scores.png", o.prepared, o.detection);
  write_score_histogram(folder / "histogram.png", o.detection);
  write_file(folder / "regions.csv", regions_csv(o.detection, o.prepared, o.config.detection.elements));
  write_file(folder / "report.html", render_report(o));
  // Last: whoever sees the summary may rely on the rest.
  write_file(folder / "summary.json", summary.dump(2) + "\n");
}

}  // namespace eelsvae
