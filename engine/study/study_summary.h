#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "engine/study/study.h"

namespace eelsvae {

// Over the seeds: mean and standard deviation of a sample, the latter 0 for a single value.
struct Spread {
  int64_t count = 0;
  double mean = 0, deviation = 0;
};
Spread spread_of(const std::vector<double>& values);

// A threshold's outcomes over several images.
struct PooledThreshold {
  ThresholdMethod method = ThresholdMethod::fdr;
  double rate = 0;  // requested; 0 with methods that keep none
  int64_t images = 0, images_with_false_alarms = 0;
  int64_t hits = 0, false_alarms = 0, missed = 0, rightly_left = 0;
  Spread f1, precision, recall;  // over the images

  // False alarms among the found, of all images together; absent where nothing was found.
  std::optional<double> delivered() const;
  // 95 % confidence interval of it (confidence.h), taking the found ones for independent trials.
  std::array<double, 2> interval() const;
  // "inside": the interval holds the requested rate; "below", "above": all of it lies there.
  std::string verdict() const;
};

// The results of a cell over all seeds, or of several cells, for one source and score.
struct SummaryRow : RankingMeasures<Spread> {
  StudyCell cell;        // its seed means nothing
  ScoreOutcome outcome;  // source, footing, kind, score and defect; its numbers mean nothing
  std::vector<PooledThreshold> thresholds;
};
// A row for every preset, subject, amount, source and score, in the order of the results.
std::vector<SummaryRow> summarise(const std::vector<StudyResult>& results);
// The same over all subjects and amounts of a preset, whose recordings have noise of their own; of the parts
// `defects` (then delivered() is what came of a requested rate) or `normal`.
std::vector<SummaryRow> summarise_presets(const std::vector<StudyResult>& results, StudyCell::Part part);

struct QualityRow {
  StudyCell cell;
  std::string source;
  Spread psnr_db, ssim_map, ssim_channels, reduced_deviance, autocorrelation, dark_reduced_deviance,
      dark_autocorrelation;
};
std::vector<QualityRow> summarise_quality(const std::vector<StudyResult>& results);

}  // namespace eelsvae
