#include "engine/train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <utility>

#include "engine/image/excluded.h"
#include "engine/network/blind_blocks.h"
#include "engine/network/reconstruction.h"
#include "engine/noise/filtered_noise.h"
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

bool overlap(TileOrigin a, TileOrigin b, int64_t tile) {
  return std::abs(a.y - b.y) < tile && std::abs(a.x - b.x) < tile;
}

// Moves tiles from training to validation, and away those that overlap them.
void hold_out(TileSplit& split, const SpectrumImageView& prepared, const TrainingConfig& training) {
  const int64_t tile = split.grid.tile;
  const double pixels = static_cast<double>(prepared.pixels() - excluded_pixels(prepared.excluded));
  const auto wanted = std::max<int64_t>(
      std::llround(training.validation_fraction * pixels / static_cast<double>(tile * tile)), 1);
  const auto least_left = (std::ssize(split.training) + 1) / 2;
  std::vector<int64_t> drawn = split.training;
  shuffle(drawn, training.seed, split_draw);
  auto origin = [&](int64_t number) { return split.grid.origins[static_cast<size_t>(number)]; };
  for (; !drawn.empty() && std::ssize(split.validation) < wanted; drawn.pop_back()) {
    const int64_t candidate = drawn.back();
    auto touches = [&](int64_t other) { return overlap(origin(candidate), origin(other), tile); };
    if (std::ranges::any_of(split.validation, touches)) continue;
    const auto touching = std::ranges::count_if(split.training, touches);
    if (std::ssize(split.training) - touching < least_left) continue;
    std::erase_if(split.training, touches);
    split.touching += touching - 1;
    split.validation.push_back(candidate);
  }
  std::ranges::sort(split.validation);
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
  if (training.validation_fraction > 0) hold_out(split, prepared, training);
  if (left.empty())
    throw UserError(split.excluded > 0
                        ? "tiles.anomaly_indices leaves only tiles of excluded pixels, none to train on"
                        : "tiles.anomaly_indices leaves no tile to train on");
  return split;
}

std::vector<uint8_t> held_out_pixels(const TileSplit& split, const SpectrumImageView& prepared,
                                     int64_t margin) {
  std::vector<uint8_t> held_out(static_cast<size_t>(prepared.pixels()));
  const int64_t height = prepared.y.size, width = prepared.x.size;
  auto set = [&](const std::vector<int64_t>& tiles, int64_t around, uint8_t value) {
    for (int64_t tile : tiles) {
      const TileOrigin origin = split.grid.origins[static_cast<size_t>(tile)];
      const int64_t left = std::max<int64_t>(origin.x - around, 0),
                    right = std::min(origin.x + split.grid.tile + around, width),
                    bottom = std::min(origin.y + split.grid.tile + around, height);
      for (int64_t y = std::max<int64_t>(origin.y - around, 0); y < bottom; ++y)
        std::fill_n(held_out.begin() + y * width + left, right - left, value);
    }
  };
  set(split.validation, 0, 1);
  set(split.training, margin - 1, 0);
  for (size_t pixel = 0; pixel < prepared.excluded.size(); ++pixel)
    if (prepared.excluded[pixel]) held_out[pixel] = 0;
  return held_out;
}

std::vector<uint8_t> held_out_pixels(const SpectrumImageView& prepared, const Config& config) {
  return held_out_pixels(split_tiles(prepared, config.tiles, config.training), prepared,
                         noise_lag(config.preprocess.sigma, config.preprocess.xy_window));
}

double counted(const EpochRecord& record) {
  if (record.deviance) return *record.deviance;
  return record.validation ? record.validation->loss : record.training.loss;
}

bool has_settled(const std::vector<EpochRecord>& history, const Config& config) {
  constexpr double least_fall = 1e-4;
  const int64_t patience = config.training.patience, epochs = std::ssize(history);
  if (patience == 0 || epochs <= epochs_before_kl_weight_stays(config.loss) + patience ||
      !history.back().deviance)
    return false;
  double before = std::numeric_limits<double>::infinity(), lately = before;
  for (int64_t i = 0; i < epochs; ++i) {
    double& lowest = i < epochs - patience ? before : lately;
    lowest = std::min(lowest, counted(history[static_cast<size_t>(i)]));
  }
  return lately > before - least_fall;
}

Trainer::Trainer(Model& model, const Config& config, const SpectrumImageView& prepared)
    : model_(model),
      config_(config),
      image_(prepared),
      split_(split_tiles(prepared, config.tiles, config.training)),
      asked_(model.shape().blind > 0 ? BlindBlocks::share : 1),
      loaded_share_(static_cast<size_t>(model.batch()), 1) {
  if (split_.validation.empty()) return;
  const int64_t margin = noise_lag(config.preprocess.sigma, config.preprocess.xy_window),
                tile = split_.grid.tile;
  std::vector<TileOrigin> tiles;
  for (int64_t number : split_.validation) tiles.push_back(split_.grid.origins[static_cast<size_t>(number)]);
  held_out_ = make_prediction_sample(prepared, std::move(tiles), tile, tile,
                                     held_out_pixels(split_, prepared, margin), config.preprocess,
                                     config.training.seed);
}

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

// Loads the batch tiles[first...]; past the end the last one repeats. epoch < 0: no augmentation. A network
// of cells is shown other pixels than it is asked for, in each tile others.
void Trainer::load(const std::vector<int64_t>& tiles, int64_t first, int64_t epoch) {
  float* batch = model_.next_tiles();
  const int64_t side = model_.shape().blind, width = split_.grid.tile, channels = model_.shape().energy;
  float* shown = side > 0 ? model_.next_inputs() : nullptr;
  for (int64_t b = 0; b < model_.batch(); ++b) {
    int64_t tile = tiles[static_cast<size_t>(std::min<int64_t>(first + b, std::ssize(tiles) - 1))];
    const Philox4 draw =
        philox(config_.training.seed, RandomStream::augmentation,
               epoch >= 0 ? static_cast<uint64_t>(epoch) : split_draw, static_cast<uint64_t>(first + b));
    const int orientation =
        epoch >= 0 && config_.training.augment ? static_cast<int>(draw.v[0] % orientation_count) : 0;
    const std::span<float> target(batch + b * model_.shape().tile_count(),
                                  static_cast<size_t>(model_.shape().tile_count()));
    copy_tile(image_, split_.grid.origins[static_cast<size_t>(tile)], width, orientation, target.data());
    if (side == 0) continue;
    const BlindBlocks blind = {side, draw.v[1] % (2 * side), draw.v[2] % (2 * side)};
    const std::span<float> input(shown + b * model_.shape().tile_count(), target.size());
    std::ranges::copy(target, input.begin());
    blind.clear(input, width, channels, true);
    blind.clear(target, width, channels, false);
    loaded_share_[static_cast<size_t>(b)] = blind.share_of(width);
  }
  model_.load_tiles();
  if (side > 0) model_.load_inputs();
}

EpochLoss Trainer::validate() {
  const int64_t count = validation_tiles();
  EpochLoss sum;
  for (int64_t first = 0; first < count; first += model_.batch()) {
    load(split_.validation, first, -1);
    std::vector<TileLoss> losses = model_.evaluate();
    for (int64_t b = 0; b < std::min(model_.batch(), count - first); ++b) {
      sum.reconstruction += losses[static_cast<size_t>(b)].reconstruction /
                            (loaded_share_[static_cast<size_t>(b)] * static_cast<double>(count));
      sum.kl += losses[static_cast<size_t>(b)].kl / static_cast<double>(count);
    }
  }
  sum.loss = config_.loss.dose * sum.reconstruction + config_.loss.kl_weight * sum.kl;
  return sum;
}

double Trainer::measure_deviance() {
  const PredictionSample& sample = *held_out_;
  const int64_t tile_count = model_.shape().tile_count(), tiles = sample.rectangles();
  auto predict = [&](bool with_fresh_noise) {
    CountArray predicted;
    for (int64_t first = 0; first < tiles; first += model_.batch()) {
      std::vector<float> batch;
      for (int64_t i = first; i < std::min(first + model_.batch(), tiles); ++i) {
        const auto counts = sample.rectangle(i, with_fresh_noise).counts;
        batch.insert(batch.end(), counts.begin(), counts.end());
      }
      expect(std::ssize(batch) % tile_count == 0, "held-out rectangles are tiles");
      const std::vector<float> told = reconstruct_tiles(model_, batch);
      predicted.insert(predicted.end(), told.begin(), told.end());
    }
    if (model_.loss_kind() == ReconstructionLoss::poisson) {
      SpectrumImageView shown = sample.observed;
      if (with_fresh_noise) shown.counts = sample.disturbed;
      take_totals(shown, predicted);
    }
    return predicted;
  };
  const CountArray expected = predict(false);
  return predictive_deviance(sample, expected, predict(true));
}

bool Trainer::run(TrainingState& state, TrainingObserver& observer) {
  const int64_t batches = batches_per_epoch();
  const int64_t latent = model_.shape().latent;
  while (state.epoch < config_.training.epochs && !has_settled(state.history, config_)) {
    const double began = seconds_now();
    const std::vector<int64_t> order = epoch_order(state.epoch);
    const LossWeights weights = {config_.loss.dose / asked_, kl_weight_at(config_.loss, state.epoch)};
    load(order, state.batch * model_.batch(), state.epoch);
    while (state.batch < batches) {
      model_.start_step(weights, config_.training.seed, state.step, state.schedule.learning_rate,
                        config_.training.clip_value);
      // While the device computes, the next tiles are made ready.
      if (state.batch + 1 < batches) load(order, (state.batch + 1) * model_.batch(), state.epoch);
      const StepResult result = model_.finish_step();
      TileLoss loss = mean_of(result.tiles);
      loss.reconstruction /= asked_;
      const double norm = result.gradient_norm;
      if (!std::isfinite(loss.total({config_.loss.dose, weights.kl_weight})) || !std::isfinite(norm))
        throw UserError("the loss is no longer a finite number in epoch " + std::to_string(state.epoch + 1) +
                        ", step " + std::to_string(state.step + 1) +
                        (config_.preprocess.scaling_method == Scaling::none
                             ? "; the counts are not scaled: set preprocess.scaling_method to robust_minmax"
                         : config_.training.clip_value > 0
                             ? "; lower training.learning_rate or training.clip_value"
                             : "; lower training.learning_rate or set training.clip_value"));
      state.reconstruction_sum += loss.reconstruction;
      state.kl_sum += loss.kl;
      state.norm_sum += norm;
      for (int64_t b = 0; b < model_.batch() * model_.shape().cells(); ++b)
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
    if (held_out_) record.deviance = measure_deviance();
    record.learning_rate = state.schedule.learning_rate;
    record.kl_weight = weights.kl_weight;
    record.gradient_norm = state.norm_sum / n;
    record.active_latent_units = active_units(state.mean_sum, state.mean_square_sum,
                                              batches * model_.batch() * model_.shape().cells());
    record.seconds = seconds_now() - began;

    const bool improved = counted(record) < state.best;
    if (improved) state.best = counted(record);
    state.schedule.observe(record.validation ? record.validation->loss : record.training.loss,
                           config_.training.lr_patience, config_.training.lr_factor);
    state.history.push_back(record);
    ++state.epoch;
    state.batch = 0;
    state.reconstruction_sum = state.kl_sum = state.norm_sum = 0;
    std::fill(state.mean_sum.begin(), state.mean_sum.end(), 0.0);
    std::fill(state.mean_square_sum.begin(), state.mean_square_sum.end(), 0.0);
    observer.on_epoch(state, improved);
    if (observer.stop_requested()) break;
  }
  return state.epoch == config_.training.epochs || has_settled(state.history, config_);
}

}  // namespace eelsvae
