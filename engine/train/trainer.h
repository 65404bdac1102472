#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/image/spectrum_image.h"
#include "engine/image/tiling.h"
#include "engine/network/model.h"
#include "engine/noise/prediction.h"
#include "engine/train/schedule.h"

namespace eelsvae {

// Means over an epoch's tiles; the loss is dose * reconstruction + kl_weight * kl at the full kl_weight.
struct EpochLoss {
  double loss = 0, reconstruction = 0, kl = 0;
};

struct EpochRecord {
  int64_t epoch = 0;  // counted from 1
  int64_t steps = 0;  // optimizer steps so far
  EpochLoss training;
  std::optional<EpochLoss> validation;
  std::optional<double> deviance = {};  // predictive, of held-out spectra (engine/noise/prediction.h)
  double learning_rate = 0;
  double kl_weight = 0;      // during this epoch
  double gradient_norm = 0;  // mean before clipping
  int64_t active_latent_units = 0;
  double seconds = 0;
};

// What an epoch is judged by: the predictive deviance if it was measured, otherwise the validation's loss,
// otherwise the training's.
double counted(const EpochRecord& record);

// Whether a training that is judged by its predictive deviance should end: in the last `patience` epochs
// (training.patience; 0: never) it fell by no more than 1e-4, in units of the noise, below what it was
// before. Epochs in which beta still rises do not count.
bool has_settled(const std::vector<EpochRecord>& history, const Config& config);

// Everything besides weights and moments that a training run needs to go on exactly where it was.
struct TrainingState {
  int64_t epoch = 0;  // epochs completed
  int64_t batch = 0;  // batches done of the epoch under way
  uint64_t step = 0;  // optimizer steps done
  PlateauSchedule schedule;
  double best = std::numeric_limits<double>::infinity();  // of what counts: counted()
  // Sums over the epoch under way.
  double reconstruction_sum = 0, kl_sum = 0, norm_sum = 0;
  std::vector<double> mean_sum, mean_square_sum;  // of the posterior's mean, per latent unit
  std::vector<EpochRecord> history;
};

// What a training run tells and asks while it runs.
class TrainingObserver {
 public:
  virtual ~TrainingObserver() = default;
  // After every optimizer step. batches: of the epoch.
  virtual void on_step(const TrainingState& state, int64_t batches, double loss) = 0;
  // After every epoch; improved: what counted() of the epoch is the lowest so far.
  virtual void on_epoch(const TrainingState& state, bool improved) = 0;
  // Asked after every step; true ends the run with everything in `state`.
  virtual bool stop_requested() = 0;
};

// Latent units whose posterior mean varies over the tiles by more than a variance of 0.01 (Burda et al.,
// "Importance weighted autoencoders", ICLR 2016, section 5.2). Units that do not have collapsed to the prior.
int64_t active_units(const std::vector<double>& mean_sum, const std::vector<double>& mean_square_sum,
                     int64_t tiles);

// Which tiles of a prepared image are trained on and which are kept for validation; both ascending indices
// into the grid.
struct TileSplit {
  TileGrid grid;
  std::vector<int64_t> training, validation;
  int64_t excluded = 0;  // tiles in neither because all their pixels are excluded
  int64_t touching = 0;  // tiles in neither because they overlap one of validation's
};

// Validation's tiles are drawn until they make up validation_fraction of the image; no two overlap, and no
// tile that overlaps one is trained on. None is drawn where that would take more than half of the training's.
// UserError: the image is smaller than a tile, an index of anomaly_indices is no tile, no tile is left to
// train on.
TileSplit split_tiles(const SpectrumImageView& prepared, const TilesConfig& tiles,
                      const TrainingConfig& training);

// 1 for the pixels (y, x) of validation tiles whose noise no training tile has seen: `margin` pixels
// (noise_lag()) and more from all of these. Excluded pixels are none.
std::vector<uint8_t> held_out_pixels(const TileSplit& split, const SpectrumImageView& prepared,
                                     int64_t margin);

// The same of a training by a configuration, with the margin that its filters ask for.
std::vector<uint8_t> held_out_pixels(const SpectrumImageView& prepared, const Config& config);

// Trains a model on the tiles of a prepared image. Order of tiles, orientation and noise depend on the seed,
// the epoch and the step only, so a run that stops and goes on gives the same bits as one that does not.
class Trainer {
 public:
  // UserError: the image is smaller than a tile, an index of anomaly_indices is no tile, no tile is left.
  Trainer(Model& model, const Config& config, const SpectrumImageView& prepared);

  int64_t training_tiles() const { return std::ssize(split_.training); }
  int64_t validation_tiles() const { return std::ssize(split_.validation); }
  // Tiles that are neither trained on nor validated with because all their pixels are excluded.
  int64_t excluded_tiles() const { return split_.excluded; }
  const TileSplit& split() const { return split_; }
  // On which the network is judged after every epoch; null where there are no held-out spectra.
  const PredictionSample* held_out() const { return held_out_ ? &*held_out_ : nullptr; }
  int64_t batches_per_epoch() const;
  // A tile to show what the model makes of it: the middle one of validation's, or of training's where there
  // are none.
  TileOrigin sample_tile() const;

  TrainingState initial_state() const;
  // Runs until config.training.epochs are complete or has_settled() (true), or the observer stops it (false).
  // UserError if the loss is no longer finite.
  bool run(TrainingState& state, TrainingObserver& observer);

 private:
  EpochLoss validate();
  double measure_deviance();
  void load(const std::vector<int64_t>& tiles, int64_t first, int64_t epoch);
  std::vector<int64_t> epoch_order(int64_t epoch) const;

  Model& model_;
  const Config& config_;
  SpectrumImageView image_;
  TileSplit split_;
  // Shares of a tile's pixels that the loss is summed over: of tiles in general, and of those loaded last.
  double asked_;
  std::vector<double> loaded_share_;
  std::optional<PredictionSample> held_out_;
};

}  // namespace eelsvae
