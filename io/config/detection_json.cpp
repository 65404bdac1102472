#include "io/config/detection_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/detect/change_words.h"
#include "engine/detect/edges.h"
#include "engine/image/excluded.h"
#include "io/config/comparison_json.h"
#include "io/config/config.h"
#include "io/config/config_fields.h"

namespace eelsvae {

namespace {

nlohmann::ordered_json or_null(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nullptr;
}

void add_metrics(nlohmann::ordered_json& summary, const std::optional<DetectionMetrics>& metrics) {
  if (!metrics) return;
  const bool none = metrics->true_positives + metrics->false_negatives == 0;  // to be found
  summary["f1"] = or_null(none ? std::nullopt : std::optional(metrics->f1));
  summary["precision"] = metrics->precision;
  summary["recall"] = or_null(none ? std::nullopt : std::optional(metrics->recall));
  for (const auto& [key, heading, value] : ranking_measures<std::optional<double>>)
    summary[key] = or_null((*metrics).*value);
}

}  // namespace

std::string score_name(const Expectation& expectation, const DetectionConfig& config) {
  return expectation.own_scores.empty() ? name_of(config.score) : "own";
}

std::string DetectionReport::score_name() const {
  return eelsvae::score_name(expectation, config.detection);
}

nlohmann::ordered_json explanations_json(const Detection& found, const std::vector<std::string>& elements) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (size_t i = 0; i < found.regions.size() && i < regions_shown; ++i) {
    const Explanation& explanation = found.regions[i].explanation;
    if (explanation.channels == 0) continue;
    nlohmann::ordered_json changes = nlohmann::ordered_json::array();
    for (const Change& change : explanation.changes) {
      nlohmann::ordered_json entry = {{"kind", name_of(change.kind)}, {"edges", nlohmann::json::array()}};
      for (const Edge& edge : edges_of(change, elements)) entry["edges"].push_back(edge.name());
      const bool somewhere = change.last_ev > 0;
      entry["from_ev"] = somewhere ? nlohmann::ordered_json(change.first_ev) : nullptr;
      entry["to_ev"] = somewhere ? nlohmann::ordered_json(change.last_ev) : nullptr;
      entry["energy_uncertainty_ev"] =
          change.energy_uncertainty_ev > 0 ? nlohmann::ordered_json(change.energy_uncertainty_ev) : nullptr;
      entry["value"] = change.value;
      entry["uncertainty"] = change.uncertainty;
      entry["unit"] = unit_of(change.kind);
      entry["text"] = sentence(change, elements);
      changes.push_back(std::move(entry));
    }
    list.push_back({{"region", i + 1},
                    {"text", sentence(explanation, elements)},
                    {"changes", std::move(changes)},
                    {"chi_squared_before", explanation.chi_squared_before},
                    {"chi_squared_after", explanation.chi_squared_after},
                    {"channels", explanation.channels}});
  }
  return list;
}

nlohmann::ordered_json summary_json(const DetectionReport& o) {
  const Axis& energy = o.prepared.energy;
  const ChannelWindow& window = o.detection.window;
  const int64_t excluded = excluded_pixels(o.prepared.excluded);
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
  add_metrics(summary, o.metrics);
  summary["beside"] = nlohmann::ordered_json::array();
  for (const DetectionReport::Beside& beside : o.beside) {
    nlohmann::ordered_json entry = {{"model", beside.name},
                                    {"score", beside.score},
                                    {"threshold", beside.found.threshold},
                                    {"anomalous_pixels", beside.found.anomalous_pixels()},
                                    {"trusted", beside.found.trusted()},
                                    {"reasons", beside.found.doubts}};
    add_metrics(entry, beside.metrics);
    summary["beside"].push_back(std::move(entry));
  }
  summary.update(to_json(o.provenance));
  summary["configuration"] = nlohmann::ordered_json::parse(to_json_text(o.config));
  return summary;
}

}  // namespace eelsvae
