#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/detect/comparison.h"
#include "engine/detect/metrics.h"
#include "engine/study/quality.h"

namespace eelsvae {

// What a study is told besides the model's configuration. Keys, units and one-line explanations are listed in
// io/config/study_config.h and docs/evaluation.md.
struct EvaluationConfig {
  std::vector<std::string> presets = {"bfo", "hetero"};
  std::array<int64_t, 3> shape = {96, 96, 256};  // (y, x, E) of every recording
  double energy_offset_ev = 660, dispersion_ev = 0.3;
  double exposure = 1;
  std::vector<int64_t> seeds = {1, 2, 3};
  std::vector<int64_t> tuning_seeds;  // on which settings were chosen; none of `seeds`

  std::vector<std::string> defects = {"fe-shift:1.5", "fe-shift:1.5:disc:2", "broadening:0.5"};
  std::vector<double> amounts = {0.0005, 0.005, 0.03};
  std::vector<double> rates = {0.01, 0.05, 0.1};
  std::vector<Score> scores = {Score::whitened, Score::combined,           Score::deviance,
                               Score::pearson,  Score::pearson_background, Score::latent};
  std::vector<std::string> baselines = {"mean", "pca:1", "pca:2", "pca:3", "pca:4", "pca:5", "pca:6", "rx"};

  bool train_on_scored = false;  // a model on every scored image, too, as the baselines have it

  std::string published_preset = "bfo";
  std::vector<int64_t> published_shifts = {3, 8, 13, 18, 23, 28, 33, 38};
  std::vector<double> published_amounts = {0.0163, 0.00163};

  std::string sweep_preset = "hetero";
  std::vector<ReconstructionLoss> sweep_losses;
  std::optional<double> sweep_mse_dose;  // of mse, whose numbers are of another size; absent: loss.dose
  std::vector<int64_t> sweep_latent_dims;
  std::vector<double> sweep_doses;
};

struct Study {
  Config config;  // of the model, its preprocessing and detection
  EvaluationConfig evaluation;
};

// One line of the table of a study: what was scored.
struct StudyCell {
  enum class Part {
    published,  // peaks moved in the prepared image that was trained on
    defects,    // a recording with defects
    normal,     // a recording without any: every alarm is false
    sweep       // recordings with every kind of defect, with a model made otherwise
  };
  Part part = Part::defects;
  std::string preset;
  int64_t seed = 0;
  // published: "roll 8" or "move 8", channels; defects: as configured, such as "fe-shift:1.5"; sweep: "as
  // configured", "loss.reconstruction=mse" and the like.
  std::string subject;
  double amount = 0;  // as configured
  bool operator==(const StudyCell&) const = default;
};

// What a threshold on a score made of the pixels that count.
struct ThresholdOutcome {
  ThresholdMethod method = ThresholdMethod::fdr;
  double rate = 0;  // requested; 0 with methods that keep none
  int64_t hits = 0, false_alarms = 0, missed = 0, rightly_left = 0;

  // Of the found ones; 0 where nothing is found.
  double precision() const;
  double recall() const;
  double f1() const;
};

// A source of expectations with a score.
struct ScoreOutcome : RankingMeasures<std::optional<double>> {
  // "model", a baseline as configured, "known truth", or "likelihood ratio", which knows the defect, too.
  std::string source;
  std::string footing;  // what it was fitted to: "clean", or "contaminated", the scored image itself
  enum class Kind { configured, own, published } kind = Kind::configured;  // own: RX's distance
  Score score = Score::whitened;  // if not own; published: pearson in the published window
  std::string defect;             // of a sweep; otherwise empty
  std::vector<ThresholdOutcome> thresholds;
  // Of a model: how well it predicts what its training held out, beside the baselines.
  std::optional<Comparison> comparison = {};
};

// How well a source describes normal spectra that it was not fitted to.
struct QualityOutcome {
  std::string source;
  std::optional<double> psnr_db, ssim_map, ssim_channels;
  // Over all pixels, and over the quarter with the fewest counts, where noise dominates the most.
  double reduced_deviance = 0, autocorrelation = 0;  // the latter at a lag of one channel
  double dark_reduced_deviance = 0, dark_autocorrelation = 0;
};

struct StudyResult {
  StudyCell cell;
  int64_t pixels = 0;     // that count
  int64_t anomalous = 0;  // of these
  int64_t left_out = 0;   // next to anomalies or the hot pixel, or in tiles.anomaly_indices
  int64_t active_latent_units = 0, latent_units = 0;
  std::vector<ScoreOutcome> outcomes;
  std::vector<QualityOutcome> quality;  // of normal cells and sweeps
};

}  // namespace eelsvae
