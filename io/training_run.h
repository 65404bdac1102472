#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include <spdlog/logger.h>

#include "engine/trainer.h"
#include "io/checkpoint.h"
#include "io/progress.h"

namespace eelsvae {

// The files of a run folder.
struct RunFolder {
  std::filesystem::path path;

  std::string config() const { return path / "config.json"; }      // as resolved
  std::string best() const { return path / "model.safetensors"; }  // lowest loss so far
  std::string last() const { return path / "last.safetensors"; }   // with optimizer state
  std::string metrics() const { return path / "metrics.jsonl"; }   // a line per epoch
  std::string log() const { return path / "log.txt"; }

  // The first of these files that is there already, "" if none is.
  std::string existing() const;
  // Removes what writing left beside the checkpoints when a run was killed: temporary files, as large as
  // they.
  void remove_leftovers() const;
};

// The checkpoint that `--model` means: a run folder's best one, or the file itself. UserError if there is
// none.
std::string model_file(const std::string& run_or_file);

// UserError, naming the first difference, unless the run that wrote `before` can go on with `now`: everything
// that shapes the results must be equal; the data's path, device, the number of epochs and detection may
// differ.
void check_same_run(const Config& before, const Config& now, const std::string& checkpoint);

// Keeps a run's folder while it trains: a line of metrics per epoch, the best model whenever it improves, and
// the last state often enough that little work can be lost but seldom enough that saving takes no more than
// a twentieth of the time. A failing write is a UserError; the files before it stay as they were.
class TrainingRun final : public TrainingObserver {
 public:
  // info: everything but history and training, which are taken from the state that is saved.
  TrainingRun(RunFolder folder, Model& model, CheckpointInfo info, const TrainingState& state,
              int64_t batches, spdlog::logger& log);

  void on_step(const TrainingState& state, int64_t batches, double loss) override;
  void on_epoch(const TrainingState& state, bool improved) override;
  bool stop_requested() override;

  // Saves the last state unless it is saved already, and takes the progress bar away.
  void finish(const TrainingState& state);

 private:
  void save_last(const TrainingState& state);

  RunFolder folder_;
  Model& model_;
  CheckpointInfo info_;
  spdlog::logger& log_;
  Progress progress_;
  uint64_t saved_step_ = 0;
  std::string status_;
  std::chrono::steady_clock::time_point saved_at_;
  std::chrono::duration<double> save_duration_{0};
};

}  // namespace eelsvae
