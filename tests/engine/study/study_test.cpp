// The parts of a study's protocol.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/specimen/injection.h"
#include "engine/study/confidence.h"
#include "engine/study/study_plan.h"
#include "engine/study/study_protocol.h"
#include "engine/study/study_summary.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

EvaluationConfig small_evaluation() {
  EvaluationConfig e;
  e.presets = {"drift"};
  e.shape = {20, 24, 192};
  e.energy_offset_ev = 680;
  e.exposure = 10;
  e.seeds = {4, 5};
  e.defects = {"fe-shift:2", "broadening:0.5"};
  e.amounts = {2, 0.02};
  e.rates = {0.05, 0.2};
  e.baselines = {"mean"};
  e.published_shifts = {8};
  e.published_amounts = {5};
  return e;
}

Study small_study() {
  Study study;
  study.evaluation = small_evaluation();
  study.config.preprocess.sigma = 0;
  study.config.preprocess.xy_window = 1;
  study.config.tiles.image_size = 8;
  study.config.tiles.sliding_window_stride = 8;
  return study;
}

// ---- confidence ----

// Values of R's binom.test and of tables: Hahn and Meeker, Statistical Intervals (1991).
TEST(ClopperPearson, KnownIntervals) {
  auto expect_interval = [](int64_t count, int64_t total, double low, double high) {
    const auto interval = clopper_pearson(count, total);
    EXPECT_NEAR(interval[0], low, 5e-5) << count << " of " << total;
    EXPECT_NEAR(interval[1], high, 5e-5) << count << " of " << total;
  };
  expect_interval(0, 10, 0, 0.3085);
  expect_interval(10, 10, 0.6915, 1);
  expect_interval(5, 10, 0.1871, 0.8129);
  expect_interval(1, 100, 0.00025, 0.05446);
  expect_interval(0, 0, 0, 1);
  // Where nothing was counted the upper end solves (1 - p)^n = 0.025.
  EXPECT_NEAR(clopper_pearson(0, 37)[1], 1 - std::pow(0.025, 1.0 / 37), 1e-12);
  EXPECT_NEAR(clopper_pearson(0, 37, 0.9)[1], 1 - std::pow(0.05, 1.0 / 37), 1e-12);
}

// ---- protocol ----

TEST(StudyProtocol, RecordingsShareTheSpecimenAndNothingElse) {
  const EvaluationConfig e = small_evaluation();
  const Defect defect = parse_defect("fe-shift:2");
  const SimulatedImage clean = simulate(recording_settings(e, "drift", 4, 0));
  const SimulatedImage dirty = simulate(recording_settings(e, "drift", 4, 3, defect, 0.02));
  EXPECT_EQ(std::count(clean.truth.begin(), clean.truth.end(), 1), 0);
  EXPECT_EQ(std::count(dirty.truth.begin(), dirty.truth.end(), 1), 10);  // 2 % of 480
  EXPECT_EQ(clean.hot_pixel, dirty.hot_pixel);

  // Their difference in normal pixels is noise: its mean over the image vanishes, and so it is not with
  // another seed, which is another specimen with other stripes.
  auto largest_line_difference = [&](const SimulatedImage& a, const SimulatedImage& b) {
    double largest = 0;
    for (int64_t y = 0; y < 20; ++y) {
      double difference = 0, total = 0;
      for (int64_t x = 0; x < 24; ++x) {
        const int64_t pixel = y * 24 + x;
        if (dirty.truth[static_cast<size_t>(pixel)]) continue;
        for (int64_t c = 0; c < 192; ++c) {
          difference += static_cast<double>(a.image.spectrum(pixel)[c] - b.image.spectrum(pixel)[c]);
          total += static_cast<double>(a.image.spectrum(pixel)[c]);
        }
      }
      largest = std::max(largest, std::abs(difference / total));
    }
    return largest;
  };
  EXPECT_LT(largest_line_difference(clean, dirty), 0.005);
  EXPECT_GT(largest_line_difference(clean, simulate(recording_settings(e, "drift", 5, 0))), 0.01);
  EXPECT_NE(clean.image.counts, dirty.image.counts);

  // No two recordings of any specimens have the same noise.
  std::set<uint64_t> seeds;
  for (int64_t seed : {0, 4, 5})
    for (int64_t recording = 0; recording < 5; ++recording)
      seeds.insert(*recording_settings(e, "drift", seed, recording).noise_seed);
  EXPECT_EQ(seeds.size(), 15u);
}

TEST(StudyProtocol, MarginsReachAsFarAsTheFilters) {
  PreprocessConfig preprocess;
  DetectionConfig detection;
  preprocess.sigma = 0;
  preprocess.xy_window = 1;
  EXPECT_EQ(reach_of(preprocess, detection), 0);
  preprocess.xy_window = 3;
  EXPECT_EQ(reach_of(preprocess, detection), 1);
  preprocess.sigma = 0.5;  // cut off at four sigma
  EXPECT_EQ(reach_of(preprocess, detection), 3);
  detection.pooling = 1.5;  // up to three sigma
  EXPECT_EQ(reach_of(preprocess, detection), 8);

  std::vector<uint8_t> truth(5 * 6);
  truth[1 * 6 + 1] = truth[1 * 6 + 2] = 1;
  const std::vector<uint8_t> margin = margins(truth, 5, 6, 1);
  const std::vector<uint8_t> expected = {1, 1, 1, 1, 0, 0,  //
                                         1, 0, 0, 1, 0, 0,  //
                                         1, 1, 1, 1, 0, 0,  //
                                         0, 0, 0, 0, 0, 0,  //
                                         0, 0, 0, 0, 0, 0};
  EXPECT_EQ(margin, expected);
  EXPECT_EQ(margins(truth, 5, 6, 0), std::vector<uint8_t>(30));
}

// Nothing beyond the margin feels the anomaly: with the same noise, pixels outside are equal bit by bit.
TEST(StudyProtocol, BeyondTheMarginNothingOfAnAnomalyIsLeft) {
  Study study = small_study();
  study.config.preprocess.sigma = 0.5;
  study.config.preprocess.xy_window = 3;
  SimulationSettings settings =
      recording_settings(study.evaluation, "bfo", 4, 3, parse_defect("fe-shift:2"), 3);
  const StudyImage clean = record(without_defects(settings), study.config, nullptr, nullptr);
  const FittedPreprocess fitted{clean.prepared.image.energy, clean.prepared.scaling, std::nullopt};
  const StudyImage dirty = record(settings, study.config, &fitted, nullptr);
  int64_t changed = 0, hot = 0;
  for (int64_t pixel = 0; pixel < dirty.prepared.image.pixels(); ++pixel) {
    const auto i = static_cast<size_t>(pixel);
    const float* a = clean.prepared.image.spectrum(pixel);
    const float* b = dirty.prepared.image.spectrum(pixel);
    const bool same = std::equal(a, a + dirty.prepared.image.energy.size, b);
    hot += clean.left_out[i];
    if (dirty.truth[i]) {
      EXPECT_FALSE(same);
      EXPECT_EQ(dirty.left_out[i], clean.left_out[i]);
    } else if (!dirty.left_out[i]) {
      EXPECT_TRUE(same) << pixel;
    } else {
      changed += !same;
    }
  }
  EXPECT_GT(changed, 20);  // a margin that leaves out too much would hide a mistake
  EXPECT_GT(hot, 15);
  EXPECT_LE(hot, 49);  // 7 x 7 around the hot pixel
}

TEST(StudyProtocol, TilesLeftOutOfTrainingDoNotCount) {
  TilesConfig tiles;
  tiles.image_size = tiles.sliding_window_stride = 8;
  tiles.anomaly_indices = {1, 3};  // of 3 x 3 tiles over 20 x 24 pixels, the last row anchored
  const std::vector<uint8_t> mask = excluded_tiles(tiles, 20, 24);
  EXPECT_EQ(std::count(mask.begin(), mask.end(), 1), 128);
  EXPECT_EQ(mask[8], 1);
  EXPECT_EQ(mask[7], 0);
  EXPECT_EQ(mask[8 * 24], 1);
}

TEST(StudyProtocol, PublishedInjectionsMoveThePeakBothWays) {
  const Study study = small_study();
  const StudyImage clean =
      record(recording_settings(study.evaluation, "bfo", 4, 0), study.config, nullptr, nullptr);
  const SpectrumImage& image = clean.prepared.image;
  const ShiftInjection roll = published_injection("roll 8", image, 5, 4);
  EXPECT_EQ(roll.method, ShiftMethod::roll);
  EXPECT_EQ(roll.shift, 8);
  EXPECT_NEAR(image.energy.value(static_cast<double>(roll.centre)), 717.5, 1.0);
  EXPECT_EQ(published_injection("move 13", image, 5, 4).method, ShiftMethod::move_peak);
  SpectrumImage injected = image;
  const std::vector<uint8_t> truth = inject_shifts(injected, roll);
  EXPECT_EQ(std::count(truth.begin(), truth.end(), 1), 5);
}

TEST(StudyProtocol, OutcomesAddUp) {
  std::vector<float> scores, held_out;
  std::vector<uint8_t> truth, left_out;
  for (int i = 0; i < 2000; ++i) {
    const double u = (i + 0.5) / 2000;
    const bool anomalous = i % 100 == 7;
    scores.push_back(static_cast<float>(std::log(u / (1 - u)) + (anomalous ? 20 : 0)));
    truth.push_back(anomalous);
    left_out.push_back(i % 10 == 3);
    held_out.push_back(static_cast<float>(std::log(u / (1 - u))));
  }
  const ScoreOutcome outcome = outcome_of(scores, truth, left_out, {}, {0.05, 0.2}, held_out);
  ASSERT_EQ(outcome.thresholds.size(), 5u);
  EXPECT_NEAR(*outcome.roc_auc, 1, 1e-6);
  for (const ThresholdOutcome& t : outcome.thresholds) {
    EXPECT_EQ(t.hits + t.missed, 20);
    EXPECT_EQ(t.false_alarms + t.rightly_left, 1780);
    EXPECT_GE(t.hits, t.method == ThresholdMethod::otsu ? 19 : 20);
  }
  EXPECT_EQ(outcome.thresholds[2].method, ThresholdMethod::conformal);
  EXPECT_LE(outcome.thresholds[0].false_alarms, outcome.thresholds[1].false_alarms);
  // Without known normal spectra there is no conformal threshold; scores that are all alike find nothing.
  EXPECT_EQ(outcome_of(scores, truth, left_out, {}, {0.05}, {}).thresholds.size(), 2u);
  const ScoreOutcome alike = outcome_of(std::vector<float>(2000, 1.0f), truth, left_out, {}, {0.05}, {});
  for (const ThresholdOutcome& t : alike.thresholds) EXPECT_EQ(t.hits + t.false_alarms, 0);
}

TEST(StudyProtocol, QualityTakesNoiseWithoutAFloor) {
  SpectrumImage image;
  image.y.size = image.x.size = 8;
  image.energy.size = 16;
  std::vector<float> expected;
  for (int64_t i = 0; i < 8 * 8 * 16; ++i) {
    expected.push_back(static_cast<float>(10 + i / 16 % 7));
    image.counts.push_back(expected.back() + (i % 2 ? 1.0f : -1.0f));
  }
  const QualityOutcome quality = quality_of(image, expected, {0, 0.1, {}});
  EXPECT_GT(quality.reduced_deviance, 0.5);  // 1 / (0.1 * 10 to 16)
  EXPECT_LT(quality.reduced_deviance, 1.0);
  EXPECT_GT(quality.dark_reduced_deviance, quality.reduced_deviance);
  EXPECT_LT(quality.autocorrelation, -0.9);
}

// ---- plan ----

TEST(StudyPlan, OneModelServesAllCellsOfASpecimen) {
  Study study = small_study();
  study.evaluation.published_preset = study.evaluation.sweep_preset = "drift";
  study.evaluation.sweep_doses = {study.config.loss.dose, 7};
  study.evaluation.sweep_losses = {ReconstructionLoss::cross_entropy, ReconstructionLoss::mse};
  study.evaluation.sweep_mse_dose = 50;
  const std::vector<StudyUnit> units = plan_study(study);
  ASSERT_EQ(units.size(), 4u);  // two seeds, mse, dose 7
  // roll and move, nothing, two defects in two amounts; the sweep's "as configured" with the first seed
  EXPECT_EQ(units[0].cells.size(), 2u + 1 + 4 + 1);
  EXPECT_EQ(units[1].cells.size(), 2u + 1 + 4);
  EXPECT_EQ(units[0].config.training.seed, 4u);
  EXPECT_EQ(units[1].config.training.seed, 5u);
  EXPECT_EQ(units[2].config.loss.reconstruction, ReconstructionLoss::mse);
  EXPECT_EQ(units[2].config.loss.dose, 50);
  EXPECT_EQ(units[3].config.loss.dose, 7);
  EXPECT_EQ(units[3].cells[0].subject, "loss.dose=7");
}

TEST(StudyPlan, MistakesNameTheKey) {
  auto mistake = [](auto change) {
    Study study = small_study();
    change(study);
    try {
      plan_study(study);
    } catch (const UserError& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(
      mistake([](Study& s) { s.evaluation.presets = {"gold"}; }).find("evaluation.presets: there is no"), 0u);
  EXPECT_EQ(mistake([](Study& s) { s.evaluation.defects = {"fe-shft:1"}; }).find("evaluation.defects: "), 0u);
  EXPECT_EQ(mistake([](Study& s) { s.evaluation.baselines = {"pca:x"}; }).find("evaluation.baselines: "), 0u);
  EXPECT_NE(mistake([](Study& s) { s.evaluation.defects = {"fe-shift:1@5"}; }).find("evaluation.amounts"),
            std::string::npos);
  // Ti is not at home on the film; the first seed or any later one says so.
  EXPECT_EQ(mistake([](Study& s) {
              s.evaluation.defects = {"ti-shift:1"};
            }).find("evaluation.defects: ti-shift:1 on drift: "),
            0u);
  EXPECT_EQ(mistake([](Study& s) { s.evaluation.seeds = {1, 1}; }).find("evaluation.seeds: an entry"), 0u);
  EXPECT_EQ(mistake([](Study& s) { s.config.tiles.image_size = 24; }).find("evaluation.shape: 20 x 24"), 0u);
  EXPECT_EQ(mistake([](Study& s) { s.evaluation.energy_offset_ev = 600; }).find("evaluation."), 0u);
  EXPECT_EQ(
      mistake([](Study& s) { s.evaluation.published_shifts = {40}; }).find("evaluation.published_shifts: "),
      0u);
  EXPECT_EQ(mistake([](Study& s) {
              s.evaluation.presets.clear();
              s.evaluation.published_shifts.clear();
            }).find("evaluation: there is nothing to do"),
            0u);
}

// ---- summary ----

TEST(StudySummary, PoolsCountsAndSpreadsTheRest) {
  std::vector<StudyResult> results(2);
  for (size_t k = 0; k < 2; ++k) {
    results[k].cell = {StudyCell::Part::defects, "bfo", static_cast<int64_t>(k), "fe-shift:1", 0.01};
    ScoreOutcome& outcome = results[k].outcomes.emplace_back();
    outcome.source = "model";
    outcome.footing = "clean";
    outcome.average_precision = k == 0 ? 0.5 : 0.7;
    outcome.thresholds = {{ThresholdMethod::fdr, 0.05, k == 0 ? 8 : 10, k == 0 ? 2 : 0, 2, 88}};
  }
  const std::vector<SummaryRow> rows = summarise(results);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_NEAR(rows[0].average_precision.mean, 0.6, 1e-12);
  EXPECT_NEAR(rows[0].average_precision.deviation, std::sqrt(0.02), 1e-12);
  EXPECT_EQ(rows[0].roc_auc.count, 0);
  ASSERT_EQ(rows[0].thresholds.size(), 1u);
  const PooledThreshold& t = rows[0].thresholds[0];
  EXPECT_EQ(t.images, 2);
  EXPECT_EQ(t.images_with_false_alarms, 1);
  EXPECT_NEAR(*t.delivered(), 0.1, 1e-12);
  EXPECT_EQ(t.interval(), clopper_pearson(2, 20));
  EXPECT_EQ(t.verdict(), "inside");
  EXPECT_NEAR(t.precision.mean, 0.9, 1e-12);

  // Another amount is another row, but the same preset.
  results[1].cell.amount = 0.02;
  EXPECT_EQ(summarise(results).size(), 2u);
  EXPECT_EQ(summarise_presets(results, StudyCell::Part::defects).size(), 1u);
  EXPECT_EQ(summarise_presets(results, StudyCell::Part::normal).size(), 0u);
}

TEST(StudySummary, VerdictsCompareTheIntervalWithTheRequest) {
  PooledThreshold t;
  t.rate = 0.05;
  EXPECT_FALSE(t.delivered());
  EXPECT_EQ(t.verdict(), "inside");  // nothing found says nothing
  t.hits = 500;
  EXPECT_EQ(t.verdict(), "below");
  t.false_alarms = 100;
  EXPECT_EQ(t.verdict(), "above");
  t.false_alarms = 26;
  EXPECT_EQ(t.verdict(), "inside");
}

TEST(StudyProtocol, SpecimensNameWhatTheirScansHaveBesides) {
  const SimulationSettings s = parse_specimen("interface:vacuum=0.25:correlation=0.3");
  EXPECT_EQ(s.preset, Preset::interface);
  EXPECT_EQ(s.vacuum, 0.25);
  EXPECT_EQ(s.correlation, 0.3);
  EXPECT_EQ(s.unscanned, 0);
  for (const char* wrong :
       {"interface:vacuum", "interface:vacuum=", "interface:vacuum=0.2x", "interface:haze=1", "nothing"})
    EXPECT_THROW(parse_specimen(wrong), UserError) << wrong;
  EvaluationConfig e = small_evaluation();
  EXPECT_EQ(recording_settings(e, "bfo:unscanned=0.5", 1, 0).unscanned, 0.5);
}

TEST(StudyPlan, SeedsThatSettingsWereChosenOnAreNotJudgedBy) {
  Study study = small_study();
  study.evaluation.tuning_seeds = {101};
  EXPECT_FALSE(plan_study(study).empty());
  study.evaluation.tuning_seeds = {101, 5};
  try {
    plan_study(study);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("tuning_seeds: seed 5"), std::string::npos) << error.what();
  }
}

// Pixels without counts count for nobody, and only images that are scored as they were recorded have a
// ceiling.
TEST(StudyProtocol, RecordingsLeaveOutWhatWasNotScanned) {
  const Study study = small_study();
  const SimulationSettings s =
      recording_settings(study.evaluation, "drift:unscanned=0.5", 4, 3, parse_defect("fe-shift:4"), 5);
  const StudyImage image = record(s, study.config, nullptr, nullptr);
  EXPECT_EQ(image.left_out.back(), 1);
  EXPECT_EQ(image.ceiling.size(), image.truth.size());
  Config filtered = study.config;
  filtered.preprocess.xy_window = 3;
  EXPECT_TRUE(record(s, filtered, nullptr, nullptr).ceiling.empty());
}

}  // namespace
}  // namespace eelsvae
