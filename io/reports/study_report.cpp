#include "io/reports/study_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/study/study_summary.h"
#include "io/config/config_fields.h"
#include "io/config/study_config.h"
#include "io/files/number_text.h"
#include "io/reports/page.h"
#include "io/reports/study_json.h"

namespace eelsvae {
namespace {

using nlohmann::json;
using Part = StudyCell::Part;

json spread(const Spread& s) {
  if (s.count == 0) return nullptr;
  return {{"count", s.count}, {"mean", s.mean}, {"deviation", s.deviation}};
}

json row_json(const SummaryRow& row) {
  json thresholds = json::array();
  for (const PooledThreshold& t : row.thresholds) {
    const auto delivered = t.delivered();
    thresholds.push_back({{"method", name_of(t.method)},
                          {"rate", t.rate},
                          {"images", t.images},
                          {"images_with_false_alarms", t.images_with_false_alarms},
                          {"hits", t.hits},
                          {"false_alarms", t.false_alarms},
                          {"missed", t.missed},
                          {"rightly_left", t.rightly_left},
                          {"delivered", delivered ? json(*delivered) : json(nullptr)},
                          {"interval", t.interval()},
                          {"verdict", keeps_rate(t.method) ? json(t.verdict()) : json(nullptr)},
                          {"f1", spread(t.f1)},
                          {"precision", spread(t.precision)},
                          {"recall", spread(t.recall)}});
  }
  json entry = {{"part", part_name(row.cell.part)}, {"preset", row.cell.preset},
                {"subject", row.cell.subject},      {"amount", row.cell.amount},
                {"source", row.outcome.source},     {"footing", row.outcome.footing},
                {"score", score_text(row.outcome)}, {"defect", row.outcome.defect}};
  for (const RankingMeasure<Spread>& m : ranking_measures<Spread>) entry[m.key] = spread(row.*m.value);
  entry["thresholds"] = std::move(thresholds);
  return entry;
}

json rows_json(const std::vector<SummaryRow>& rows) {
  json list = json::array();
  for (const SummaryRow& row : rows) list.push_back(row_json(row));
  return list;
}

json quality_json(const std::vector<StudyResult>& results) {
  json list = json::array();
  for (const QualityRow& row : summarise_quality(results))
    list.push_back({{"part", part_name(row.cell.part)},
                    {"preset", row.cell.preset},
                    {"subject", row.cell.subject},
                    {"source", row.source},
                    {"psnr_db", spread(row.psnr_db)},
                    {"ssim_map", spread(row.ssim_map)},
                    {"ssim_channels", spread(row.ssim_channels)},
                    {"reduced_deviance", spread(row.reduced_deviance)},
                    {"autocorrelation", spread(row.autocorrelation)},
                    {"dark_reduced_deviance", spread(row.dark_reduced_deviance)},
                    {"dark_autocorrelation", spread(row.dark_autocorrelation)}});
  return list;
}

json published_json() {
  json list = json::array();
  for (const PublishedRow& row : published_table())
    list.push_back({{"shift", row.shift},
                    {"f1", row.f1},
                    {"precision", row.precision},
                    {"recall", row.recall},
                    {"f1_pca3", row.pca3},
                    {"f1_pca4", row.pca4},
                    {"f1_pca5", row.pca5}});
  return list;
}

std::string about(const StudyReport& report) {
  const EvaluationConfig& e = report.study.evaluation;
  return std::to_string(e.shape[0]) + " x " + std::to_string(e.shape[1]) + " pixels, " +
         std::to_string(e.shape[2]) + " channels of " + number_text(e.dispersion_ev) + " eV from " +
         number_text(e.energy_offset_ev) + " eV, exposure " + number_text(e.exposure) + "; " +
         std::to_string(e.seeds.size()) + (e.seeds.size() == 1 ? " seed" : " seeds");
}

// "|" would end a cell.
std::string markdown_row(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) {
    line += ' ';
    for (char c : cell) line += c == '|' ? std::string("\\|") : std::string(1, c);
    line += " |";
  }
  return line + "\n";
}

json tables_json(const StudyReport& report) {
  json tables = json::array();
  for (const StudyTable& table : study_tables(report))
    tables.push_back(
        {{"heading", table.heading}, {"note", table.note}, {"columns", table.columns}, {"rows", table.rows}});
  return tables;
}

bool has(const StudyReport& report, Part part) {
  return std::ranges::any_of(report.results, [part](const StudyResult& r) { return r.cell.part == part; });
}

}  // namespace

std::string study_json_text(const StudyReport& report) {
  json cells = json::array();
  for (const StudyResult& result : report.results) cells.push_back(to_json(result));
  const json document = {{"program", "eelsvae-evaluate"},
                         {"version", report.version},
                         {"device", report.device},
                         {"configuration", json::parse(to_json_text(report.study))},
                         {"published", published_json()},
                         {"cells", cells},
                         {"summary", rows_json(summarise(report.results))},
                         {"false_discovery", rows_json(summarise_presets(report.results, Part::defects))},
                         {"normal_specimens", rows_json(summarise_presets(report.results, Part::normal))},
                         {"quality", quality_json(report.results)}};
  return document.dump(1) + "\n";
}

std::string study_markdown(const StudyReport& report) {
  std::string text =
      "# Study\n\nMade by eelsvae-evaluate " + report.version + " on " + report.device + ".\n\n" +
      about(report) +
      ". Mean ± standard deviation over the seeds. Baselines are fitted to a recording without "
      "defects or, where it says contaminated, to the scored one; the model to the former. What each "
      "number is: docs/evaluation.md.\n";
  for (const StudyTable& table : study_tables(report)) {
    text += "\n## " + table.heading + "\n\n" + (table.note.empty() ? "" : table.note + "\n\n");
    text += markdown_row(table.columns) + markdown_row(std::vector<std::string>(table.columns.size(), "---"));
    for (const std::vector<std::string>& row : table.rows) text += markdown_row(row);
  }
  return text;
}

std::string study_html(const StudyReport& report) {
  return render_page("study.html", {{"title", "How well anomalies are found"},
                                    {"origin", {about(report), report.device}},
                                    {"palette", ""},
                                    {"hasPublished", has(report, Part::published)},
                                    {"hasDefects", has(report, Part::defects)},
                                    {"hasSweep", has(report, Part::sweep)},
                                    {"published", published_json()},
                                    {"rate", shown_rate(report.study)},
                                    {"summary", rows_json(summarise(report.results))},
                                    {"pooled", rows_json(summarise_presets(report.results, Part::defects))},
                                    {"tables", tables_json(report)},
                                    {"configuration", to_json_text(report.study)}});
}

}  // namespace eelsvae
