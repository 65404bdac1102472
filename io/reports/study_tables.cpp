#include "io/reports/study_tables.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "engine/study/study_summary.h"
#include "io/config/config_fields.h"
#include "io/files/number_text.h"
#include "io/reports/study_json.h"

namespace eelsvae {
namespace {

using Part = StudyCell::Part;

std::string decimals(double value, int digits) {
  char text[48];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string text(const Spread& s, int digits = 3) {
  if (s.count == 0) return "-";
  return decimals(s.mean, digits) + (s.count > 1 ? " ± " + decimals(s.deviation, digits) : "");
}

const PooledThreshold* find(const SummaryRow& row, ThresholdMethod method, double rate) {
  for (const PooledThreshold& t : row.thresholds)
    if (t.method == method && (!keeps_rate(method) || t.rate == rate)) return &t;
  return nullptr;
}

std::string threshold_text(ThresholdMethod method, double rate) {
  std::string text(name_of(method));
  if (keeps_rate(method)) text += " " + number_text(100 * rate) + " %";
  return text;
}

// Rows that differ in one thing become one row with a column for each of its values.
struct Pivot {
  std::vector<std::string> columns;
  std::vector<std::pair<std::vector<std::string>, std::vector<std::string>>> rows;  // names, cells

  void set(const std::vector<std::string>& names, const std::string& column, const std::string& cell) {
    size_t c = 0, r = 0;
    while (c < columns.size() && columns[c] != column) ++c;
    if (c == columns.size()) columns.push_back(column);
    while (r < rows.size() && rows[r].first != names) ++r;
    if (r == rows.size()) rows.push_back({names, {}});
    if (rows[r].second.size() <= c) rows[r].second.resize(c + 1, "-");
    rows[r].second[c] = cell;
  }

  StudyTable table(const std::string& heading, const std::string& note,
                   std::vector<std::string> names) const {
    StudyTable t{heading, note, std::move(names), {}};
    t.columns.insert(t.columns.end(), columns.begin(), columns.end());
    for (const auto& [row_names, cells] : rows) {
      std::vector<std::string> row = row_names;
      row.insert(row.end(), cells.begin(), cells.end());
      row.resize(t.columns.size(), "-");
      t.rows.push_back(std::move(row));
    }
    return t;
  }
};

std::vector<double> amounts_of(const std::vector<SummaryRow>& rows, const std::string& method) {
  std::vector<double> amounts;
  for (const SummaryRow& row : rows)
    if (row.cell.part == Part::published && row.cell.subject.starts_with(method) &&
        std::ranges::find(amounts, row.cell.amount) == amounts.end())
      amounts.push_back(row.cell.amount);
  return amounts;
}

void add_published(const StudyReport& report, const std::vector<SummaryRow>& rows,
                   std::vector<StudyTable>& tables) {
  const double rate = shown_rate(report.study);
  for (const std::string method : {"roll", "move"})
    for (double amount : amounts_of(rows, method)) {
      Pivot f1;  // its columns in the order of the configuration, whether printed or not
      auto column = [&](int64_t shift) { return std::to_string(shift); };
      for (int64_t shift : report.study.evaluation.published_shifts) f1.columns.push_back(column(shift));
      Pivot precision = f1, auc = f1;
      for (int64_t shift : report.study.evaluation.published_shifts)
        for (const PublishedRow& printed : published_table()) {
          if (printed.shift != shift || method != "roll") continue;
          f1.set({"3D-CVAE, printed", "pearson", "otsu"}, column(shift), decimals(printed.f1, 3));
          f1.set({"PCA 3, printed", "pearson", "otsu"}, column(shift), decimals(printed.pca3, 3));
          f1.set({"PCA 4, printed", "pearson", "otsu"}, column(shift), decimals(printed.pca4, 3));
          f1.set({"PCA 5, printed", "pearson", "otsu"}, column(shift), decimals(printed.pca5, 3));
          precision.set({"3D-CVAE, printed", "precision"}, column(shift), decimals(printed.precision, 3));
          precision.set({"3D-CVAE, printed", "recall"}, column(shift), decimals(printed.recall, 3));
        }
      for (const SummaryRow& row : rows) {
        if (row.cell.part != Part::published || row.cell.amount != amount ||
            !row.cell.subject.starts_with(method))
          continue;
        const std::string shift = row.cell.subject.substr(5);
        const std::string source = source_text(row.outcome.source, row.outcome.footing);
        for (ThresholdMethod threshold : {ThresholdMethod::otsu, ThresholdMethod::fdr})
          if (const PooledThreshold* t = find(row, threshold, rate)) {
            f1.set({source, score_text(row.outcome), threshold_text(threshold, rate)}, shift, text(t->f1));
            if (threshold == ThresholdMethod::otsu && row.outcome.source == "model" &&
                row.outcome.kind == ScoreOutcome::Kind::published) {
              precision.set({source, "precision"}, shift, text(t->precision));
              precision.set({source, "recall"}, shift, text(t->recall));
            }
          }
        auc.set({source, score_text(row.outcome)}, shift, text(row.roc_auc, 4));
      }
      const std::string what =
          (method == "roll" ? "peaks rolled as published, " : "peaks moved without wrap, ") +
          amount_text(amount) + (amount < 1 ? " of the pixels" : "");
      tables.push_back(
          f1.table("Published study: F1, " + what,
                   "Columns: shift in channels. " +
                       std::string(method == "roll" ? "Printed: arXiv 2412.16200, another image with 600 "
                                                      "of 36,864 pixels. A roll by 33 or 38 of 41 channels "
                                                      "is one by 8 or 3."
                                                    : "Nothing printed compares with this."),
                   {"source", "score", "threshold"}));
      tables.push_back(precision.table("Published study: precision and recall, " + what,
                                       "Pearson's score in the published window, threshold otsu.",
                                       {"source", ""}));
      tables.push_back(
          auc.table("Published study: ROC-AUC, " + what, "None was printed.", {"source", "score"}));
    }
}

void add_honest(const StudyReport& report, const std::vector<SummaryRow>& rows,
                std::vector<StudyTable>& tables) {
  const double rate = shown_rate(report.study);
  for (const std::string& preset : report.study.evaluation.presets) {
    struct Measure {
      std::string heading, note;
      std::function<std::string(const SummaryRow&)> cell;
      Pivot pivot = {};
    };
    auto f1 = [rate](ThresholdMethod method) {
      return [method, rate](const SummaryRow& row) {
        const PooledThreshold* t = find(row, method, rate);
        return t ? text(t->f1) : std::string("-");
      };
    };
    std::vector<Measure> measures;
    for (const RankingMeasure<Spread>& m : ranking_measures<Spread>)
      measures.push_back({m.heading, "", [m](const SummaryRow& row) { return text(row.*m.value); }});
    for (const auto& [name, method] : choices(ThresholdMethod{}))
      measures.push_back({"F1, threshold " + threshold_text(method, rate),
                          needs_held_out(method) ? "Needs a recording that is known to be normal." : "",
                          f1(method)});
    for (const SummaryRow& row : rows) {
      if (row.cell.part != Part::defects || row.cell.preset != preset) continue;
      const std::string column = row.cell.subject + ", " + amount_text(row.cell.amount);
      for (Measure& m : measures)
        m.pivot.set({source_text(row.outcome.source, row.outcome.footing), score_text(row.outcome)}, column,
                    m.cell(row));
    }
    for (const Measure& m : measures)
      if (!m.pivot.rows.empty())
        tables.push_back(m.pivot.table(preset + ": " + m.heading, m.note, {"source", "score"}));
  }
}

// Methods beside each other, each with its best score, defect by defect.
void add_best(const StudyReport& report, const std::vector<SummaryRow>& rows,
              std::vector<StudyTable>& tables) {
  auto method_of = [](const std::string& source) {
    if (source.starts_with("pca")) return std::string("PCA, best number of components");
    if (source.starts_with("rx")) return std::string("RX, best number of components");
    return source;
  };
  for (const std::string& preset : report.study.evaluation.presets) {
    std::map<std::pair<std::string, std::string>, const SummaryRow*> best;  // by method and column
    std::vector<std::pair<std::string, std::string>> order;
    for (const SummaryRow& row : rows) {
      if (row.cell.part != Part::defects || row.cell.preset != preset || row.outcome.footing != "clean" ||
          row.average_precision.count == 0)
        continue;
      const std::pair key(method_of(row.outcome.source),
                          row.cell.subject + ", " + amount_text(row.cell.amount));
      const auto [place, is_new] = best.try_emplace(key, &row);
      if (is_new) order.push_back(key);
      if (row.average_precision.mean > place->second->average_precision.mean) place->second = &row;
    }
    Pivot pivot;
    for (const auto& key : order) {
      const SummaryRow& row = *best.at(key);
      pivot.set({key.first}, key.second, text(row.average_precision) + ", " + score_text(row.outcome));
    }
    if (!pivot.rows.empty())
      tables.push_back(
          pivot.table(preset + ": average precision of every method with its best score",
                      "Of the scores in the tables below, for each defect by itself; fitted to a recording "
                      "without defects.",
                      {"source"}));
  }
}

void add_rates(const StudyReport& report, std::vector<StudyTable>& tables) {
  const std::vector<SummaryRow> rows = summarise_presets(report.results, Part::defects);
  for (const std::string& preset : report.study.evaluation.presets) {
    Pivot pivot;
    for (const SummaryRow& row : rows) {
      if (row.cell.preset != preset) continue;
      for (const PooledThreshold& t : row.thresholds) {
        std::string cell = "none found";
        if (const auto delivered = t.delivered()) {
          const auto [low, high] = t.interval();
          cell = number_text(100 * *delivered) + " % (" + number_text(100 * low) + " to " +
                 number_text(100 * high) + "), " + count_text(t.hits + t.false_alarms) + " found";
          if (keeps_rate(t.method) && t.verdict() != "inside") cell += ", " + t.verdict();
        }
        pivot.set({source_text(row.outcome.source, row.outcome.footing), score_text(row.outcome)},
                  threshold_text(t.method, t.rate), cell);
      }
    }
    if (!pivot.rows.empty())
      tables.push_back(pivot.table(
          preset + ": delivered false-discovery rate",
          "False alarms among the found spectra of all recordings with defects, in brackets the 95 % "
          "confidence "
          "interval (Clopper-Pearson); above, below: the interval does not hold the rate that was asked for.",
          {"source", "score"}));
  }
}

void add_alarms(const StudyReport& report, std::vector<StudyTable>& tables) {
  Pivot pivot;
  for (const SummaryRow& row : summarise_presets(report.results, Part::normal))
    for (const PooledThreshold& t : row.thresholds)
      pivot.set(
          {row.cell.preset, source_text(row.outcome.source, row.outcome.footing), score_text(row.outcome)},
          threshold_text(t.method, t.rate),
          std::to_string(t.images_with_false_alarms) + " of " + std::to_string(t.images) + " images, " +
              count_text(t.false_alarms) + " pixels");
  if (!pivot.rows.empty())
    tables.push_back(pivot.table("Alarms on specimens without any anomaly",
                                 "Images with one or more, and pixels.", {"preset", "source", "score"}));
}

// Whether a model that tells less than the mean spectrum had said so.
void add_trust(const StudyReport& report, std::vector<StudyTable>& tables) {
  constexpr double clearly = 0.01;
  struct Count {
    int images = 0, worse = 0, said = 0;
    double difference = 0;
  };
  std::map<std::pair<std::string, std::string>, Count> counts;
  for (const StudyResult& result : report.results) {
    if (result.cell.part != Part::defects) continue;
    for (const ScoreOutcome& model : result.outcomes) {
      if (model.source != "model" || !model.comparison || !model.average_precision) continue;
      for (const ScoreOutcome& mean : result.outcomes) {
        if (mean.source != "mean" || mean.footing != model.footing || mean.score != model.score ||
            model.score != report.study.config.detection.score || !mean.average_precision)
          continue;
        Count& count = counts[{result.cell.preset, source_text(model.source, model.footing)}];
        const bool worse = *model.average_precision < *mean.average_precision - clearly;
        ++count.images;
        count.worse += worse;
        count.said += worse && !remark_on(*model.comparison).empty();
        count.difference += *model.average_precision - *mean.average_precision;
      }
    }
  }
  StudyTable table{
      "The model beside the mean spectrum",
      "By average precision of the configured score. Of the images in which the model has 0.01 less, those "
      "of which the program had "
      "said so, by the predictive deviance or by what is found of changes that it put into the scan.",
      {"preset", "source", "images", "mean difference", "0.01 worse", "of these, said so"},
      {}};
  for (const auto& [names, count] : counts)
    table.rows.push_back({names.first, names.second, std::to_string(count.images),
                          decimals(count.difference / count.images, 3), std::to_string(count.worse),
                          std::to_string(count.said)});
  if (!table.rows.empty()) tables.push_back(table);
}

void add_quality(const StudyReport& report, std::vector<StudyTable>& tables) {
  StudyTable table{
      "Reconstruction quality",
      "On a recording that nothing was fitted to, in prepared units. Dark: the quarter of the pixels with "
      "the fewest counts. White noise left over: reduced deviance 1, autocorrelation 0 (lag 1 channel; "
      "filters raise it).",
      {"preset", "source", "PSNR, dB", "SSIM of the map", "SSIM of channels", "reduced deviance",
       "autocorrelation", "dark: deviance", "dark: autocorrelation"},
      {}};
  for (const QualityRow& row : summarise_quality(report.results)) {
    if (row.cell.part != Part::normal) continue;
    table.rows.push_back({row.cell.preset, row.source, text(row.psnr_db, 2), text(row.ssim_map),
                          text(row.ssim_channels), text(row.reduced_deviance), text(row.autocorrelation, 4),
                          text(row.dark_reduced_deviance), text(row.dark_autocorrelation, 4)});
  }
  if (!table.rows.empty()) tables.push_back(table);
}

void add_sweep(const StudyReport& report, std::vector<StudyTable>& tables) {
  Pivot pivot;
  for (const StudyResult& result : report.results) {
    if (result.cell.part != Part::sweep) continue;
    const std::vector<std::string> names = {result.cell.subject};
    pivot.set(names, "active latent units",
              std::to_string(result.active_latent_units) + " of " + std::to_string(result.latent_units));
    for (const ScoreOutcome& outcome : result.outcomes)
      if ((outcome.score == Score::whitened || outcome.score == Score::pearson) && outcome.average_precision)
        pivot.set(names, score_text(outcome) + ", " + outcome.defect,
                  decimals(*outcome.average_precision, 3));
    for (const QualityOutcome& q : result.quality) {
      pivot.set(names, "PSNR, dB", q.psnr_db ? decimals(*q.psnr_db, 2) : "-");
      pivot.set(names, "SSIM of channels", q.ssim_channels ? decimals(*q.ssim_channels, 3) : "-");
      pivot.set(names, "reduced deviance", decimals(q.reduced_deviance, 3));
      pivot.set(names, "autocorrelation", decimals(q.autocorrelation, 4));
    }
  }
  if (!pivot.rows.empty()) {
    const EvaluationConfig& e = report.study.evaluation;
    tables.push_back(pivot.table("Models made otherwise",
                                 e.sweep_preset + ", seed " + std::to_string(e.seeds.front()) + ", " +
                                     amount_text(e.amounts.back()) +
                                     ". Average precision by score and defect.",
                                 {"model"}));
  }
}

}  // namespace

std::string amount_text(double amount) {
  return amount < 1 ? number_text(100 * amount) + " %" : count_text(std::llround(amount)) + " anomalies";
}

std::string source_text(const std::string& source, const std::string& footing) {
  return footing == "contaminated" ? source + " (contaminated)" : source;
}

double shown_rate(const Study& study) {
  const std::vector<double>& rates = study.evaluation.rates;
  const double wanted = study.config.detection.fdr;
  return *std::ranges::min_element(rates, {}, [&](double rate) { return std::abs(rate - wanted); });
}

const std::vector<PublishedRow>& published_table() {
  static const std::vector<PublishedRow> rows = {
      {3, 0.857, 0.892, 0.824, 0.227, 0.222, 0.101}, {8, 0.962, 1, 0.927, 0.626, 0.170, 0.068},
      {13, 0.958, 1, 0.919, 0.869, 0.638, 0.052},    {18, 0.971, 1, 0.944, 0.273, 0.215, 0.215},
      {23, 0.971, 1, 0.944, 0.270, 0.221, 0.220},    {28, 0.978, 1, 0.958, 0.919, 0.633, 0.050},
      {33, 0.950, 1, 0.905, 0.673, 0.159, 0.065},    {38, 0.877, 0.860, 0.895, 0.227, 0.216, 0.108}};
  return rows;
}

std::vector<StudyTable> study_tables(const StudyReport& report) {
  const std::vector<SummaryRow> rows = summarise(report.results);
  std::vector<StudyTable> tables;
  add_published(report, rows, tables);
  add_best(report, rows, tables);
  add_honest(report, rows, tables);
  add_rates(report, tables);
  add_alarms(report, tables);
  add_trust(report, tables);
  add_quality(report, tables);
  add_sweep(report, tables);
  return tables;
}

}  // namespace eelsvae
