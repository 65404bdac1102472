#include "io/reports/study_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/study/study_summary.h"
#include "io/config/config_fields.h"
#include "io/config/study_config.h"
#include "io/files/number_text.h"
#include "io/reports/html_page.h"
#include "io/reports/study_json.h"

namespace eelsvae {
namespace {

using nlohmann::json;
using Part = StudyCell::Part;

const unsigned char study_js[] = {
#include "study_js.inc"
};

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
                          {"verdict", t.method == ThresholdMethod::otsu ? json(nullptr) : json(t.verdict())},
                          {"f1", spread(t.f1)},
                          {"precision", spread(t.precision)},
                          {"recall", spread(t.recall)}});
  }
  return {{"part", part_name(row.cell.part)}, {"preset", row.cell.preset},
          {"subject", row.cell.subject},      {"amount", row.cell.amount},
          {"source", row.outcome.source},     {"footing", row.outcome.footing},
          {"score", score_text(row.outcome)}, {"defect", row.outcome.defect},
          {"roc_auc", spread(row.roc_auc)},   {"average_precision", spread(row.average_precision)},
          {"thresholds", thresholds}};
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

std::string html_table(const StudyTable& table) {
  std::string text = "<div class='scroll' style='max-height:none'><table><thead><tr>";
  for (const std::string& column : table.columns) text += "<th>" + escaped(column) + "</th>";
  text += "</tr></thead><tbody>\n";
  for (const std::vector<std::string>& row : table.rows) {
    text += "<tr>";
    for (const std::string& cell : row) text += "<td>" + escaped(cell) + "</td>";
    text += "</tr>\n";
  }
  return text + "</tbody></table></div>\n" +
         (table.note.empty() ? "" : "<p class='note'>" + escaped(table.note) + "</p>\n");
}

std::string plot(const std::string& id, const std::string& note) {
  return "<div class='plot'><canvas id='" + id + "'></canvas></div>\n<p class='note'>" + note + "</p>";
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
  HtmlPage page;
  page.title = "How well anomalies are found";
  page.header = "<p class='origin'><span>" + escaped(about(report)) + "</span><span>" +
                escaped(report.device) + "</span></p>\n";
  std::string& main = page.main;
  if (has(report, Part::published))
    main += "<div class='row'>" +
            card("<h2>Published study: F1 against shift</h2>",
                 plot("shifts",
                      "Dashed: as printed (arXiv 2412.16200). Scored in the image that was trained on, as "
                      "published."),
                 "<label>injection <select id='injection'></select></label>", true) +
            "</div>\n";
  if (has(report, Part::defects)) {
    main +=
        "<div class='row'>" +
        card("<h2>Average precision by method and defect</h2>",
             plot("precision", "Mean over the seeds; whiskers: standard deviation."),
             "<label>specimen <select id='preset'></select></label><label>score <select "
             "id='score'></select></label><label>fitted to <select id='footing'></select></label>",
             true) +
        "</div>\n<div class='row'>" +
        card("<h2>False-discovery rate: requested and delivered</h2>",
             plot("rates",
                  "All recordings with defects of the specimen; whiskers: 95 % confidence. On or below the "
                  "dashed line the promise is kept."),
             "<label>specimen <select id='rate-preset'></select></label><label>threshold <select "
             "id='rate-method'></select></label>",
             true) +
        "</div>\n";
  }
  if (has(report, Part::sweep))
    main += "<div class='row'>" +
            card("<h2>Models made otherwise: average precision</h2>",
                 plot("sweep", "Mean over the defects, one seed."), "", true) +
            "</div>\n";
  for (const StudyTable& table : study_tables(report))
    main += "<div class='row'>" +
            card("<h2>" + escaped(table.heading) + "</h2>", html_table(table), "", true) + "</div>\n";
  main += configuration_card(to_json_text(report.study));
  page.data = {{"palette", ""},
               {"published", published_json()},
               {"rate", shown_rate(report.study)},
               {"summary", rows_json(summarise(report.results))},
               {"pooled", rows_json(summarise_presets(report.results, Part::defects))}};
  page.scripts = {{reinterpret_cast<const char*>(study_js), sizeof study_js}};
  return render(page);
}

}  // namespace eelsvae
