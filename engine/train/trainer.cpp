#include "engine/train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <utility>

#include "kernels/philox.h"

namespace eelsvae {
namespace {

// Counter of the draw that splits off the validation tiles; epochs count from 0.
constexpr uint64_t split_draw = ~uint64_t{0} >> 16;

// Fisher-Yates with the draws of (seed, stream shuffle, step).
void shuffle(std::vector<int64_t>& values, uint64_t seed, uint64_t step) {
  for (size_t i = values.size(); i > 1; --i) {
    double u = uniform(philox(seed, RandomStream::shuffle, step, i).v[0]);
    std::swap(values[i - 1], values[static_cast<size_t>(u * static_cast<double>(i))]);
  }
}

TileGrid training_grid(const SpectrumImageView& prepared, const TilesConfig& tiles) {
  if (tiles.sliding_window_stride > tiles.image_size)
    throw UserError("tiles.sliding_window_stride: must not exceed tiles.image_size, " +
                    std::to_string(tiles.image_size) +
                    ", or the model would never see the pixels between the tiles");
  return make_tile_grid(prepared.y.size, prepared.x.size, tiles.image_size, tiles.sliding_window_stride);
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

int64_t active_units(const std::vector<double>& mean_sum, const std::vector<double>& mean_square_sum,
                     int64_t tiles) {
  int64_t active = 0;
  const double n = static_cast<double>(tiles);
  for (size_t i = 0; i < mean_sum.size(); ++i) {
    double mean = mean_sum[i] / n;
    if (mean_square_sum[i] / n - mean * mean > 0.01) ++active;
  }
  return active;
}

TileSplit split_tiles(const SpectrumImageView& prepared, const TilesConfig& tiles,
                      const TrainingConfig& training) {
  TileSplit split;
  split.grid = training_grid(prepared, tiles);
  std::vector<int64_t>& left = split.training;
  left.resize(static_cast<size_t>(split.grid.size()));
  std::iota(left.begin(), left.end(), 0);
  for (int64_t left_out : tiles.anomaly_indices) {
    if (left_out < 0 || left_out >= split.grid.size())
      throw UserError("tiles.anomaly_indices: there is no tile " + std::to_string(left_out) +
                      "; the image has " + std::to_string(split.grid.size()) + " tiles, counted from 0");
    std::erase(left, left_out);
  }
  split.excluded = static_cast<int64_t>(std::erase_if(left, [&](int64_t tile) {
    return all_excluded(prepared, split.grid.origins[static_cast<size_t>(tile)], split.grid.tile);
  }));
  if (training.validation_fraction > 0 && left.size() > 1) {
    shuffle(left, training.seed, split_draw);
    double share = training.validation_fraction * static_cast<double>(left.size());
    size_t count = std::clamp<size_t>(static_cast<size_t>(std::lround(share)), 1, left.size() - 1);
    split.validation.assign(left.end() - static_cast<std::ptrdiff_t>(count), left.end());
    left.resize(left.size() - count);
    std::sort(left.begin(), left.end());
    std::sort(split.validation.begin(), split.validation.end());
  }
  if (left.empty())
    throw UserError(split.excluded > 0
                        ? "tiles.anomaly_indices leaves only tiles of excluded pixels, none to train on"
                        : "tiles.anomaly_indices leaves no tile to train on");
  return split;
}

std::vector<uint8_t> held_out_pixels(const TileSplit& split, const SpectrumImageView& prepared) {
  std::vector<uint8_t> held_out(static_cast<size_t>(prepared.pixels()));
  auto set = [&](const std::vector<int64_t>& tiles, uint8_t value) {
    for (int64_t tile : tiles) {
      const TileOrigin origin = split.grid.origins[static_cast<size_t>(tile)];
      for (int64_t y = origin.y; y < origin.y + split.grid.tile; ++y)
        std::fill_n(held_out.begin() + y * prepared.x.size + origin.x, split.grid.tile, value);
    }
  };
  set(split.validation, 1);
  set(split.training, 0);
  for (size_t pixel = 0; pixel < prepared.excluded.size(); ++pixel)
    if (prepared.excluded[pixel]) held_out[pixel] = 0;
  return held_out;
}

Trainer::Trainer(Model& model, const Config& config, const SpectrumImageView& prepared)
    : model_(model),
      config_(config),
      image_(prepared),
      split_(split_tiles(prepared, config.tiles, config.training)) {}

int64_t Trainer::batches_per_epoch() const {
  return (training_tiles() + model_.batch() - 1) / model_.batch();
}

TileOrigin Trainer::sample_tile() const {
  const std::vector<int64_t>& tiles = split_.validation.empty() ? split_.training : split_.validation;
  return split_.grid.origins[static_cast<size_t>(tiles[tiles.size() / 2])];
}

TrainingState Trainer::initial_state() const {
  TrainingState state;
  state.schedule.learning_rate = config_.training.learning_rate;
  state.mean_sum.assign(static_cast<size_t>(model_.shape().latent), 0.0);
  state.mean_square_sum = state.mean_sum;
  return state;
}

std::vector<int64_t> Trainer::epoch_order(int64_t epoch) const {
  std::vector<int64_t> order = split_.training;
  shuffle(order, config_.training.seed, static_cast<uint64_t>(epoch));
  // The last batch is filled up from the beginning of the same epoch.
  const size_t wanted = static_cast<size_t>(batches_per_epoch() * model_.batch());
  for (size_t i = 0; order.size() < wanted; ++i) order.push_back(order[i]);
  return order;
}

// Loads the batch tiles[first...]; past the end the last one repeats. epoch < 0: no augmentation.
void Trainer::load(const std::vector<int64_t>& tiles, int64_t first, int64_t epoch) {
  float* batch = model_.next_tiles();
  for (int64_t b = 0; b < model_.batch(); ++b) {
    int64_t tile = tiles[static_cast<size_t>(std::min<int64_t>(first + b, std::ssize(tiles) - 1))];
    int orientation = 0;
    if (epoch >= 0 && config_.training.augment) {
      Philox4 draw = philox(config_.training.seed, RandomStream::augmentation, static_cast<uint64_t>(epoch),
                            static_cast<uint64_t>(first + b));
      orientation = static_cast<int>(draw.v[0] % orientation_count);
    }
    copy_tile(image_, split_.grid.origins[static_cast<size_t>(tile)], split_.grid.tile, orientation,
              batch + b * model_.shape().tile_count());
  }
  model_.load_tiles();
}

EpochLoss Trainer::validate() {
  const int64_t count = validation_tiles();
  EpochLoss sum;
  for (int64_t first = 0; first < count; first += model_.batch()) {
    load(split_.validation, first, -1);
    std::vector<TileLoss> losses = model_.evaluate();
    for (int64_t b = 0; b < std::min(model_.batch(), count - first); ++b) {
      sum.reconstruction += losses[static_cast<size_t>(b)].reconstruction / static_cast<double>(count);
      sum.kl += losses[static_cast<size_t>(b)].kl / static_cast<double>(count);
    }
  }
  sum.loss = config_.loss.dose * sum.reconstruction + config_.loss.kl_weight * sum.kl;
  return sum;
}

bool Trainer::run(TrainingState& state, TrainingObserver& observer) {
  const int64_t batches = batches_per_epoch();
  const int64_t latent = model_.shape().latent;
  while (state.epoch < config_.training.epochs) {
    const double began = seconds_now();
    const std::vector<int64_t> order = epoch_order(state.epoch);
    const LossWeights weights = {config_.loss.dose, kl_weight_at(config_.loss, state.epoch)};
    load(order, state.batch * model_.batch(), state.epoch);
    while (state.batch < batches) {
      model_.start_step(weights, config_.training.seed, state.step, state.schedule.learning_rate,
                        config_.training.clip_value);
      // While the device computes, the next tiles are made ready.
      if (state.batch + 1 < batches) load(order, (state.batch + 1) * model_.batch(), state.epoch);
      const StepResult result = model_.finish_step();
      const TileLoss loss = mean_of(result.tiles);
      const double norm = result.gradient_norm;
      if (!std::isfinite(loss.total(weights)) || !std::isfinite(norm))
        throw UserError("the loss is no longer a finite number in epoch " + std::to_string(state.epoch + 1) +
                        ", step " + std::to_string(state.step + 1) +
                        "; lower training.learning_rate or set training.clip_value");
      state.reconstruction_sum += loss.reconstruction;
      state.kl_sum += loss.kl;
      state.norm_sum += norm;
      for (int64_t b = 0; b < model_.batch(); ++b)
        for (int64_t j = 0; j < latent; ++j) {
          double mean = result.posterior[static_cast<size_t>(b * 2 * latent + j)];
          state.mean_sum[static_cast<size_t>(j)] += mean;
          state.mean_square_sum[static_cast<size_t>(j)] += mean * mean;
        }
      ++state.batch;
      ++state.step;
      observer.on_step(state, batches, loss.total({config_.loss.dose, config_.loss.kl_weight}));
      if (state.batch < batches && observer.stop_requested()) return false;
    }

    EpochRecord record;
    const double n = static_cast<double>(batches);
    record.epoch = state.epoch + 1;
    record.steps = static_cast<int64_t>(state.step);
    record.training = {
        (config_.loss.dose * state.reconstruction_sum + config_.loss.kl_weight * state.kl_sum) / n,
        state.reconstruction_sum / n, state.kl_sum / n};
    if (!split_.validation.empty()) record.validation = validate();
    record.learning_rate = state.schedule.learning_rate;
    record.kl_weight = weights.kl_weight;
    record.gradient_norm = state.norm_sum / n;
    record.active_latent_units =
        active_units(state.mean_sum, state.mean_square_sum, batches * model_.batch());
    record.seconds = seconds_now() - began;

    const double counted = record.validation ? record.validation->loss : record.training.loss;
    const bool improved = counted < state.best_loss;
    if (improved) state.best_loss = counted;
    state.schedule.observe(counted, config_.training.lr_patience, config_.training.lr_factor);
    state.history.push_back(record);
    ++state.epoch;
    state.batch = 0;
    state.reconstruction_sum = state.kl_sum = state.norm_sum = 0;
    std::fill(state.mean_sum.begin(), state.mean_sum.end(), 0.0);
    std::fill(state.mean_square_sum.begin(), state.mean_square_sum.end(), 0.0);
    observer.on_epoch(state, improved);
    if (state.epoch < config_.training.epochs && observer.stop_requested()) return false;
  }
  return true;
}

}  // namespace eelsvae
