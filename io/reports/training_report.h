#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/config.h"
#include "engine/detect/comparison.h"
#include "engine/image/spectrum_image.h"
#include "engine/image/tiling.h"
#include "engine/train/trainer.h"
#include "io/files/provenance.h"

namespace eelsvae {

// A tile beside what the model makes of it, (size, size, E).
struct ReconstructedTile {
  TileOrigin origin;
  int64_t size = 0;
  bool validation = false;  // it is not trained on
  int64_t epoch = 0;        // epochs done by the model that reconstructed it
  std::vector<float> observed, reconstruction;
};

// How a training run is getting on, for people to look at while it runs and afterwards. What it refers to
// belongs to the caller.
struct TrainingReport {
  enum class Progress { running, finished, stopped };

  const SpectrumImage& prepared;  // as the model sees it
  const Config& config;
  Progress progress = Progress::running;
  std::span<const EpochRecord> history = {};
  const ReconstructedTile* tile = nullptr;    // null: none yet
  std::optional<Comparison> comparison = {};  // of the baselines, on the held-out spectra
  int64_t written = 0;                        // seconds since 1970
  // While running: when another report can be expected. A page that has become much older says that the run
  // may have ended unseen.
  double next_seconds = 0;
  Provenance provenance = {};
};

// Seconds that the epochs to come will take if they take as long as the last ones; nothing before the first.
std::optional<double> training_seconds_left(std::span<const EpochRecord> history, int64_t epochs);

// One HTML file like a detection's report. While the run is going on it loads itself anew every ten seconds.
std::string render_training_report(const TrainingReport& report);

}  // namespace eelsvae
