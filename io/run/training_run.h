#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include <spdlog/logger.h>

#include "engine/detect/comparison.h"
#include "engine/train/time_limit.h"
#include "engine/train/trainer.h"
#include "io/model/checkpoint.h"
#include "io/reports/training_report.h"
#include "io/run/event_file.h"
#include "io/terminal/progress.h"

namespace eelsvae {

// The files of a run folder.
struct RunFolder {
  std::filesystem::path path;

  std::string config() const { return path / "config.json"; }      // as resolved
  std::string best() const { return path / "model.safetensors"; }  // lowest loss so far
  std::string last() const { return path / "last.safetensors"; }   // with optimizer state
  std::string metrics() const { return path / "metrics.jsonl"; }   // a line per epoch
  std::string log() const { return path / "log.txt"; }
  std::string report() const { return path / "report.html"; }

  // The first of these files that is there already, "" if none is.
  std::string existing() const;
  // Removes what writing left beside the checkpoints when a run was killed: temporary files, as large as
  // they.
  void remove_leftovers() const;
};

// The checkpoint that `--model` means: a run folder's best one, or the file itself. UserError if there is
// none.
std::string model_file(const std::string& run_or_file);

// UserError unless a training can last so long.
void check_minutes(double minutes);

// UserError, naming the first difference, unless the run that wrote `before` can go on with `now`: everything
// that shapes the results must be equal; the data's path, device, how long to train and detection may differ.
void check_same_run(const Config& before, const Config& now, const std::string& checkpoint);

// Keeps a run's folder while it trains: a line of metrics and a point of every curve per epoch, the best
// model whenever it improves, the last state often enough that little work can be lost but seldom enough that
// saving takes no more than a twentieth of the time, and a report, at most every five seconds and never more
// than a fiftieth of the time. A failing write is a UserError; the files before it stay as they were. Nothing
// of this changes what is trained.
class TrainingRun final : public TrainingObserver {
 public:
  // info: everything but history and training, which are taken from the state that is saved. The trainer and
  // its image must outlive the run. comparison: of the baselines with each other, if there are held-out
  // spectra. minutes: after which it ends, at
  // the end of an epoch if there was one.
  TrainingRun(RunFolder folder, Model& model, CheckpointInfo info, const TrainingState& state,
              const Trainer& trainer, const SpectrumImage& prepared, std::optional<Comparison> comparison,
              std::optional<double> minutes, spdlog::logger& log);

  void on_step(const TrainingState& state, int64_t batches, double loss) override;
  void on_epoch(const TrainingState& state, bool improved) override;
  bool stop_requested() override;

  // Whether it was ended because its time was over.
  bool time_is_up() const { return limit_.is_up(); }
  // Saves the last state unless it is saved already, writes the last report and takes the progress bar away.
  // complete: as Trainer::run returned; otherwise the report says how to go on.
  void finish(const TrainingState& state, bool complete);

 private:
  int64_t spectra_per_tile() const { return info_.config.tiles.image_size * info_.config.tiles.image_size; }
  void save_last(const TrainingState& state);
  bool report_is_due() const;
  void write_report(const TrainingState& state, TrainingReport::Progress progress);
  // Loads the sample tile and keeps what the model makes of it. Only between epochs: the trainer loads its
  // next tiles afterwards.
  void reconstruct_sample(const TrainingState& state);

  RunFolder folder_;
  EventFile events_;
  Model& model_;
  CheckpointInfo info_;
  spdlog::logger& log_;
  Progress progress_;
  uint64_t saved_step_ = 0;
  std::string status_;
  std::chrono::steady_clock::time_point saved_at_;
  std::chrono::duration<double> save_duration_{0};

  const SpectrumImage& prepared_;
  TileOrigin sample_;
  bool sample_is_validation_;
  std::optional<Comparison> comparison_;
  TimeLimit limit_;
  std::optional<ReconstructedTile> tile_;
  bool reported_ = false;
  std::chrono::steady_clock::time_point reported_at_;
  std::chrono::duration<double> report_duration_{0};
};

}  // namespace eelsvae
