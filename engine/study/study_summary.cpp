#include "engine/study/study_summary.h"

#include <cmath>
#include <functional>

#include "engine/study/confidence.h"

namespace eelsvae {
namespace {

bool same_method(const ScoreOutcome& a, const ScoreOutcome& b) {
  return a.source == b.source && a.footing == b.footing && a.kind == b.kind && a.score == b.score &&
         a.defect == b.defect;
}

// The same measures, of an image, of the images of a row, and over them.
constexpr const auto& measures = ranking_measures<std::optional<double>>;
constexpr const auto& collected = ranking_measures<std::vector<double>>;
constexpr const auto& spreads = ranking_measures<Spread>;

// Collects the images of a row before their spreads are taken.
struct Collected {
  SummaryRow row;
  RankingMeasures<std::vector<double>> ranking;
  struct Images {
    std::vector<double> f1, precision, recall;
  };
  std::vector<Images> images;

  void add(const ScoreOutcome& outcome) {
    for (size_t k = 0; k < std::size(measures); ++k) {
      const std::optional<double>& value = outcome.*measures[k].value;
      std::vector<double>& values = ranking.*collected[k].value;
      if (value) values.push_back(*value);
    }
    for (const ThresholdOutcome& t : outcome.thresholds) {
      size_t k = 0;
      while (k < row.thresholds.size() &&
             !(row.thresholds[k].method == t.method && row.thresholds[k].rate == t.rate))
        ++k;
      if (k == row.thresholds.size()) {
        row.thresholds.emplace_back();
        row.thresholds.back().method = t.method;
        row.thresholds.back().rate = t.rate;
        images.emplace_back();
      }
      PooledThreshold& pooled = row.thresholds[k];
      ++pooled.images;
      pooled.images_with_false_alarms += t.false_alarms > 0;
      pooled.hits += t.hits;
      pooled.false_alarms += t.false_alarms;
      pooled.missed += t.missed;
      pooled.rightly_left += t.rightly_left;
      images[k].f1.push_back(t.f1());
      images[k].precision.push_back(t.precision());
      images[k].recall.push_back(t.recall());
    }
  }

  SummaryRow finished() const {
    SummaryRow result = row;
    for (size_t k = 0; k < std::size(measures); ++k) {
      const std::vector<double>& values = ranking.*collected[k].value;
      result.*spreads[k].value = spread_of(values);
    }
    for (size_t k = 0; k < images.size(); ++k) {
      result.thresholds[k].f1 = spread_of(images[k].f1);
      result.thresholds[k].precision = spread_of(images[k].precision);
      result.thresholds[k].recall = spread_of(images[k].recall);
    }
    return result;
  }
};

std::vector<SummaryRow> collect(const std::vector<StudyResult>& results,
                                const std::function<bool(const StudyCell&)>& wanted,
                                const std::function<StudyCell(StudyCell)>& key) {
  std::vector<Collected> rows;
  for (const StudyResult& result : results) {
    if (!wanted(result.cell)) continue;
    const StudyCell cell = key(result.cell);
    for (const ScoreOutcome& outcome : result.outcomes) {
      size_t k = 0;
      while (k < rows.size() && !(rows[k].row.cell == cell && same_method(rows[k].row.outcome, outcome))) ++k;
      if (k == rows.size()) {
        rows.emplace_back();
        rows[k].row.cell = cell;
        rows[k].row.outcome = outcome;
        rows[k].row.outcome.thresholds.clear();
      }
      rows[k].add(outcome);
    }
  }
  std::vector<SummaryRow> finished;
  for (const Collected& row : rows) finished.push_back(row.finished());
  return finished;
}

StudyCell without_seed(StudyCell cell) {
  cell.seed = 0;
  return cell;
}

}  // namespace

Spread spread_of(const std::vector<double>& values) {
  Spread spread;
  spread.count = std::ssize(values);
  if (values.empty()) return spread;
  for (double v : values) spread.mean += v / static_cast<double>(values.size());
  double squares = 0;
  for (double v : values) squares += (v - spread.mean) * (v - spread.mean);
  if (values.size() > 1) spread.deviation = std::sqrt(squares / static_cast<double>(values.size() - 1));
  return spread;
}

std::optional<double> PooledThreshold::delivered() const {
  const int64_t found = hits + false_alarms;
  if (found == 0) return std::nullopt;
  return static_cast<double>(false_alarms) / static_cast<double>(found);
}

std::array<double, 2> PooledThreshold::interval() const {
  return clopper_pearson(false_alarms, hits + false_alarms);
}

std::string PooledThreshold::verdict() const {
  const auto [low, high] = interval();
  return rate < low ? "above" : rate > high ? "below" : "inside";
}

std::vector<SummaryRow> summarise(const std::vector<StudyResult>& results) {
  return collect(
      results, [](const StudyCell&) { return true; }, without_seed);
}

std::vector<SummaryRow> summarise_presets(const std::vector<StudyResult>& results, StudyCell::Part part) {
  return collect(
      results, [part](const StudyCell& cell) { return cell.part == part; },
      [](StudyCell cell) {
        cell.subject = "all";
        cell.amount = 0;
        return without_seed(cell);
      });
}

std::vector<QualityRow> summarise_quality(const std::vector<StudyResult>& results) {
  std::vector<QualityRow> rows;
  std::vector<std::vector<const QualityOutcome*>> members;
  for (const StudyResult& result : results)
    for (const QualityOutcome& quality : result.quality) {
      const StudyCell cell = without_seed(result.cell);
      size_t k = 0;
      while (k < rows.size() && !(rows[k].cell == cell && rows[k].source == quality.source)) ++k;
      if (k == rows.size()) {
        rows.push_back({});
        rows[k].cell = cell;
        rows[k].source = quality.source;
        members.emplace_back();
      }
      members[k].push_back(&quality);
    }
  for (size_t k = 0; k < rows.size(); ++k) {
    auto spread = [&](auto member) {
      std::vector<double> values;
      for (const QualityOutcome* q : members[k]) {
        const std::optional<double> value = q->*member;
        if (value) values.push_back(*value);
      }
      return spread_of(values);
    };
    rows[k].psnr_db = spread(&QualityOutcome::psnr_db);
    rows[k].ssim_map = spread(&QualityOutcome::ssim_map);
    rows[k].ssim_channels = spread(&QualityOutcome::ssim_channels);
    rows[k].reduced_deviance = spread(&QualityOutcome::reduced_deviance);
    rows[k].autocorrelation = spread(&QualityOutcome::autocorrelation);
    rows[k].dark_reduced_deviance = spread(&QualityOutcome::dark_reduced_deviance);
    rows[k].dark_autocorrelation = spread(&QualityOutcome::dark_autocorrelation);
  }
  return rows;
}

}  // namespace eelsvae
