#include "engine/train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <set>

#include "tests/engine/network/test_model.h"

namespace eelsvae {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

class Recorder : public TrainingObserver {
 public:
  explicit Recorder(uint64_t stop_after = 0) : stop_after_(stop_after) {}
  void on_step(const TrainingState& state, int64_t, double loss) override {
    losses.push_back(loss);
    steps_ = state.step;
  }
  void on_epoch(const TrainingState&, bool better) override { improved.push_back(better); }
  bool stop_requested() override { return steps_ == stop_after_; }

  Values losses;               // of every step
  std::vector<bool> improved;  // by every epoch

 private:
  uint64_t stop_after_, steps_ = 0;
};

SpectrumImage image_of_tiles(int64_t rows, int64_t columns, const ModelShape& shape) {
  SpectrumImage image;
  image.y.size = rows * shape.image_size;
  image.x.size = columns * shape.image_size;
  image.energy.size = shape.energy;
  image.counts.resize(static_cast<size_t>(image.pixels() * shape.energy));
  return image;
}

SpectrumImage random_image(int64_t rows, int64_t columns, const ModelShape& shape) {
  SpectrumImage image = image_of_tiles(rows, columns, shape);
  std::ranges::copy(random_tiles(shape, rows * columns, 1), image.counts.begin());
  return image;
}

// A configuration for small_shape().
Config small_config() {
  Config config;
  config.tiles.image_size = config.tiles.sliding_window_stride = small_shape().image_size;
  config.training.epochs = 3;
  config.training.learning_rate = 1e-3;
  config.training.seed = 5;
  config.training.validation_fraction = 0;
  return config;
}

// What a training run does, seen through a model that shows which tiles it is given: with all weights at zero
// and a learning rate of zero, the loss of a tile of constant value v is v^2 times its size.
class TileOrder : public testing::Test {
 protected:
  static constexpr int64_t rows = 3, columns = 3;
  static constexpr double unit = 1.0 / 8;  // tile i holds (i + 1) unit, exact in f32

  TileOrder() {
    config_.training.learning_rate = 0;
    config_.loss.reconstruction = ReconstructionLoss::mse;
    for (int64_t y = 0; y < image_.y.size; ++y)
      for (int64_t x = 0; x < image_.x.size; ++x) {
        const int64_t tile = y / shape_.image_size * columns + x / shape_.image_size;
        std::fill_n(image_.spectrum(y * image_.x.size + x), shape_.energy,
                    static_cast<float>(unit * static_cast<double>(tile + 1)));
      }
  }

  struct Run {
    std::vector<std::vector<double>> epochs;  // the mean of (i + 1)^2 over each batch
    TrainingState state;
    std::vector<bool> improved;
  };
  auto train(int64_t batch) {
    AllocatedModel model(*backend_, shape_, ReconstructionLoss::mse, batch, Purpose::training);
    Trainer trainer(model, config_, image_);
    training_tiles_ = trainer.training_tiles();
    validation_tiles_ = trainer.validation_tiles();
    const TileOrigin sample = trainer.sample_tile();
    sample_tile_ = (sample.y * columns + sample.x) / shape_.image_size;
    Run run;
    run.state = trainer.initial_state();
    Recorder recorder;
    EXPECT_TRUE(trainer.run(run.state, recorder));
    run.improved = recorder.improved;
    const auto batches = static_cast<size_t>(trainer.batches_per_epoch());
    EXPECT_EQ(recorder.losses.size(), batches * static_cast<size_t>(config_.training.epochs));
    for (size_t i = 0; i < recorder.losses.size(); ++i) {
      if (i % batches == 0) run.epochs.emplace_back();
      run.epochs.back().push_back(in_units(recorder.losses[i]));
    }
    return run;
  }
  double in_units(double loss) const {
    return loss / (unit * unit * static_cast<double>(shape_.tile_count()));
  }
  // Which tile a batch of one was.
  static std::vector<int64_t> tiles_of(const std::vector<double>& batches) {
    std::vector<int64_t> tiles;
    for (double square : batches) tiles.push_back(std::lround(std::sqrt(square)) - 1);
    return tiles;
  }
  static std::vector<int64_t> sorted(std::vector<int64_t> values) {
    std::sort(values.begin(), values.end());
    return values;
  }

  const std::unique_ptr<Backend> backend_ = make_backend("cpu", "fp32");
  const ModelShape shape_ = small_shape();
  Config config_ = small_config();
  SpectrumImage image_ = image_of_tiles(rows, columns, shape_);
  int64_t training_tiles_ = 0, validation_tiles_ = 0, sample_tile_ = -1;
};

TEST_F(TileOrder, EveryEpochSeesEveryTileButTheAnomalousOnceInAnOrderOfItsOwn) {
  config_.tiles.anomaly_indices = {7, 2};
  const Run run = train(1);
  EXPECT_EQ(training_tiles_, 7);
  EXPECT_EQ(validation_tiles_, 0);
  for (const auto& epoch : run.epochs)
    EXPECT_EQ(sorted(tiles_of(epoch)), (std::vector<int64_t>{0, 1, 3, 4, 5, 6, 8}));
  EXPECT_NE(run.epochs[0], run.epochs[1]);
  EXPECT_NE(run.epochs[1], run.epochs[2]);

  EXPECT_EQ(train(1).epochs, run.epochs);
  config_.training.seed = 6;
  EXPECT_NE(train(1).epochs, run.epochs);
}

TEST_F(TileOrder, LastBatchIsFilledUpFromTheEpochsBeginning) {
  config_.tiles.anomaly_indices = {0, 1, 2, 3};
  const std::vector<double> singles = train(1).epochs[0], pairs = train(2).epochs[0];
  ASSERT_EQ(singles.size(), 5u);
  EXPECT_EQ(pairs, (std::vector<double>{(singles[0] + singles[1]) / 2, (singles[2] + singles[3]) / 2,
                                        (singles[4] + singles[0]) / 2}));
}

TEST_F(TileOrder, ValidationTilesAreNeverTrainedOn) {
  config_.training.validation_fraction = 0.3;
  config_.tiles.anomaly_indices = {4};
  const Run run = train(1);
  EXPECT_EQ(training_tiles_, 5);
  EXPECT_EQ(validation_tiles_, 3);  // of 9, rounded
  const std::vector<int64_t> trained = sorted(tiles_of(run.epochs[0]));
  EXPECT_FALSE(std::binary_search(trained.begin(), trained.end(), sample_tile_)) << "the one to look at";
  double left_out = 0;
  for (int64_t tile = 0; tile < rows * columns; ++tile)
    if (tile != 4 && !std::binary_search(trained.begin(), trained.end(), tile))
      left_out += static_cast<double>((tile + 1) * (tile + 1));
  for (size_t epoch = 0; epoch < run.epochs.size(); ++epoch) {
    EXPECT_EQ(sorted(tiles_of(run.epochs[epoch])), trained);
    ASSERT_TRUE(run.state.history[epoch].validation);
    EXPECT_DOUBLE_EQ(in_units(run.state.history[epoch].validation->loss), left_out / 3);
  }
  // Batches of two: the last one holds the third tile twice, which must not count.
  EXPECT_DOUBLE_EQ(in_units(train(2).state.history[0].validation->loss), left_out / 3);

  EXPECT_EQ(train(1).epochs, run.epochs);
  std::set<std::vector<int64_t>> splits;
  for (config_.training.seed = 10; config_.training.seed < 20; ++config_.training.seed)
    splits.insert(sorted(tiles_of(train(1).epochs[0])));
  EXPECT_GT(splits.size(), 2u) << "the split does not depend on the seed";
}

TEST_F(TileOrder, EpochRecordsAreMeansAndOnlyProgressCounts) {
  config_.loss.dose = 3;
  const Run run = train(1);
  ASSERT_EQ(run.state.history.size(), 3u);
  for (size_t epoch = 0; epoch < 3; ++epoch) {
    const EpochRecord& record = run.state.history[epoch];
    EXPECT_EQ(record.epoch, static_cast<int64_t>(epoch) + 1);
    EXPECT_EQ(record.steps, static_cast<int64_t>(epoch + 1) * 9);
    EXPECT_DOUBLE_EQ(in_units(record.training.reconstruction), 285.0 / 9);  // 1 + 4 + ... + 81
    EXPECT_DOUBLE_EQ(record.training.loss, 3 * record.training.reconstruction);
    EXPECT_EQ(record.training.kl, 0);
    EXPECT_FALSE(record.validation);
    EXPECT_GT(record.gradient_norm, 0);
    EXPECT_EQ(record.active_latent_units, 0);
  }
  EXPECT_EQ(run.improved, (std::vector<bool>{true, false, false}));
  EXPECT_EQ(run.state.best, run.state.history[0].training.loss);
}

// Tiles of 8 over 40 x 40 pixels.
TileSplit split_of(int64_t stride, double fraction, const SpectrumImage& image) {
  TilesConfig tiles;
  tiles.image_size = 8;
  tiles.sliding_window_stride = stride;
  TrainingConfig training;
  training.validation_fraction = fraction;
  return split_tiles(image, tiles, training);
}

TEST(TileSplit, NoTrainingTileTouchesWhatIsHeldOut) {
  SpectrumImage image;
  image.y.size = image.x.size = 40;
  for (const int64_t stride : {1, 3, 4, 8}) {
    SCOPED_TRACE(stride);
    const TileSplit split = split_of(stride, 0.1, image);
    EXPECT_EQ(std::ssize(split.validation), 3);  // 2.5 of 25, rounded
    EXPECT_EQ(std::ssize(split.training) + std::ssize(split.validation) + split.touching, split.grid.size());
    std::vector<int> seen(40 * 40);
    for (int64_t tile : split.training)
      for (int64_t i = 0; i < 64; ++i) {
        const TileOrigin origin = split.grid.origins[static_cast<size_t>(tile)];
        seen[static_cast<size_t>((origin.y + i / 8) * 40 + origin.x + i % 8)] = 1;
      }
    const std::vector<uint8_t> apart = held_out_pixels(split, image, 1),
                               far = held_out_pixels(split, image, 3);
    EXPECT_EQ(std::ranges::count(apart, 1), 3 * 64);
    EXPECT_LT(std::ranges::count(far, 1), 3 * 64);
    EXPECT_GE(std::ranges::count(far, 1), 3 * 16);
    for (int64_t pixel = 0; pixel < 1600; ++pixel)
      for (int64_t other = 0; other < 1600; ++other) {
        const int64_t distance =
            std::max(std::abs(pixel / 40 - other / 40), std::abs(pixel % 40 - other % 40));
        if (!seen[static_cast<size_t>(other)]) continue;
        ASSERT_FALSE(apart[static_cast<size_t>(pixel)] && distance < 1) << pixel;
        ASSERT_FALSE(far[static_cast<size_t>(pixel)] && distance < 3) << pixel;
      }
  }
}

TEST(TileSplit, HoldsNothingOutWhereHalfOfTheTilesWouldGo) {
  SpectrumImage image;
  image.y.size = image.x.size = 12;
  EXPECT_TRUE(split_of(4, 0.1, image).validation.empty());
  EXPECT_EQ(split_of(4, 0.1, image).training.size(), 4u);
  image.x.size = 40;
  EXPECT_EQ(split_of(4, 0.1, image).validation.size(), 1u);
}

TEST(Trainer, SettlesWhenHeldOutSpectraAreNotPredictedBetter) {
  Config config;
  config.training.patience = 3;
  auto settled = [&](const std::vector<double>& deviances) {
    std::vector<EpochRecord> history(deviances.size());
    for (size_t i = 0; i < deviances.size(); ++i) history[i].deviance = deviances[i];
    return has_settled(history, config);
  };
  EXPECT_FALSE(settled({}));
  EXPECT_FALSE(settled({1.2, 1.1, 1.1}));
  EXPECT_FALSE(settled({1.2, 1.1, 1.1, 1.1}));
  EXPECT_TRUE(settled({1.2, 1.1, 1.1, 1.15, 1.1}));
  EXPECT_TRUE(settled({1.2, 1.1, 1.1, 1.09995, 1.1}));
  EXPECT_FALSE(settled({1.2, 1.1, 1.1, 1.15, 1.0998}));
  config.loss.kl_warmup_epochs = 3;
  EXPECT_FALSE(settled({1.2, 1.1, 1.1, 1.15, 1.1}));
  config.loss.kl_warmup_epochs = 0;
  config.training.patience = 0;
  EXPECT_FALSE(settled({1.2, 1.1, 1.1, 1.15, 1.1}));
}

TEST(Trainer, AugmentsTrainingTilesOnlyAndByTheSeed) {
  const std::unique_ptr<Backend> backend = make_backend("cpu", "fp32");
  const SpectrumImage image = random_image(2, 3, small_shape());
  const auto train = [&](bool augment, uint64_t seed) {
    Config config = small_config();
    config.training.augment = augment;
    config.training.seed = seed;
    config.training.learning_rate = 0;
    config.training.validation_fraction = 0.2;
    AllocatedModel model(*backend, small_shape(), config.loss.reconstruction, 1, Purpose::training);
    model.initialize(1);
    Trainer trainer(model, config, image);
    TrainingState state = trainer.initial_state();
    Recorder recorder;
    trainer.run(state, recorder);
    return std::pair{recorder.losses, state.history[0].validation->loss};
  };
  const auto plain = train(false, 5), turned = train(true, 5);
  size_t different = 0;
  for (size_t i = 0; i < plain.first.size(); ++i) different += plain.first[i] != turned.first[i];
  EXPECT_GE(different, plain.first.size() / 2);  // one orientation in eight is the identity
  EXPECT_EQ(plain.second, turned.second);
  EXPECT_EQ(train(true, 5), turned);
  EXPECT_NE(train(true, 6), turned);
}

TEST(Trainer, RefusesTilesThatAreNotThere) {
  const std::unique_ptr<Backend> backend = make_backend("cpu", "fp32");
  const ModelShape shape = small_shape();
  Model model(*backend, shape, ReconstructionLoss::mse, 1, Purpose::training);
  const auto message = [&](const SpectrumImage& image, std::vector<int64_t> left_out) -> std::string {
    Config config = small_config();
    config.tiles.anomaly_indices = std::move(left_out);
    try {
      Trainer trainer(model, config, image);
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  };
  const SpectrumImage image = random_image(2, 3, shape);
  EXPECT_EQ(message(image, {5, 0}), "");
  EXPECT_EQ(message(image, {6}),
            "tiles.anomaly_indices: there is no tile 6; the image has 6 tiles, counted from 0");
  EXPECT_EQ(message(image, {1, -1}),
            "tiles.anomaly_indices: there is no tile -1; the image has 6 tiles, counted from 0");
  EXPECT_EQ(message(image, {0, 1, 2, 3, 4, 5}), "tiles.anomaly_indices leaves no tile to train on");
  SpectrumImage narrow = random_image(1, 1, shape);
  narrow.x.size = 7;
  EXPECT_NE(message(narrow, {}), "");
}

class TrainerTest : public BackendTest {};

TEST_P(TrainerTest, LossFalls) {
  const ModelShape shape = small_shape();
  SpectrumImage image = image_of_tiles(2, 2, shape);  // an edge whose onset drifts along x
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel)
    for (int64_t e = 0; e < shape.energy; ++e) {
      const double onset = 10 + 0.5 * static_cast<double>(pixel % image.x.size);
      image.spectrum(pixel)[e] =
          static_cast<float>(0.1 + 0.9 / (1 + std::exp(onset - static_cast<double>(e))));
    }
  for (ReconstructionLoss kind :
       {ReconstructionLoss::mse, ReconstructionLoss::cross_entropy, ReconstructionLoss::poisson}) {
    Config config = small_config();
    config.loss.reconstruction = kind;
    config.training.epochs = 15;
    config.training.learning_rate = 1e-2;
    AllocatedModel model(backend(), shape, kind, 2, Purpose::training);
    model.initialize(1);
    Trainer trainer(model, config, image);
    TrainingState state = trainer.initial_state();
    Recorder recorder;
    ASSERT_TRUE(trainer.run(state, recorder));
    // Cross-entropy has the entropy of the targets as its floor, Poisson's likelihood that of targets
    // expected.
    double floor = 0;
    if (kind == ReconstructionLoss::cross_entropy)
      for (int64_t pixel = 0; pixel < image.pixels(); ++pixel) {
        const float* spectrum = image.spectrum(pixel);
        const double total = std::accumulate(spectrum, spectrum + shape.energy, 0.0);
        for (int64_t e = 0; e < shape.energy; ++e) floor -= spectrum[e] * std::log(spectrum[e] / total) / 4;
      }
    if (kind == ReconstructionLoss::poisson)
      for (float t : image.counts) floor += (t - t * std::log(t)) / 4;
    EXPECT_LT(state.history.back().training.loss - floor, 0.5 * (state.history[0].training.loss - floor));
    EXPECT_GT(state.history.back().training.loss, floor);
  }
}

TEST(Trainer, EndsWhenNothingMoreIsToBeLearnt) {
  const std::unique_ptr<Backend> backend = make_backend("cpu", "fp32");
  const ModelShape shape = small_shape();
  SpectrumImage image = image_of_tiles(3, 3, shape);  // a peak that grows along x, and noise
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel)
    for (int64_t e = 0; e < shape.energy; ++e) {
      const double place = (static_cast<double>(e) - 9) / 2;
      image.spectrum(pixel)[e] = static_cast<float>(0.3 + 0.02 * static_cast<double>(pixel % image.x.size) *
                                                              std::exp(-place * place)) +
                                 0.02f * normal(generator);
    }
  Config config = small_config();
  config.preprocess.sigma = 0;
  config.preprocess.xy_window = 1;
  config.loss.dose = 100;
  config.training.epochs = 200;
  config.training.patience = 5;
  config.training.learning_rate = 1e-2;
  config.training.validation_fraction = 0.2;
  AllocatedModel model(*backend, shape, config.loss.reconstruction, 1, Purpose::training);
  model.initialize(1);
  Trainer trainer(model, config, image);
  ASSERT_NE(trainer.held_out(), nullptr);
  EXPECT_EQ(trainer.held_out()->spectra(), 2 * shape.image_size * shape.image_size * 49 / 50 + 1);
  TrainingState state = trainer.initial_state();
  Recorder recorder;
  ASSERT_TRUE(trainer.run(state, recorder));
  EXPECT_LT(state.epoch, 200);
  EXPECT_LT(state.best, *state.history[0].deviance / 4);
  EXPECT_GT(state.best, 0.9);
}

void expect_equal(const TrainingState& actual, const TrainingState& expected) {
  const auto numbers = [](const TrainingState& s) {
    Values values = {static_cast<double>(s.epoch),
                     static_cast<double>(s.batch),
                     static_cast<double>(s.step),
                     s.schedule.learning_rate,
                     s.schedule.best,
                     static_cast<double>(s.schedule.epochs_without_progress),
                     s.best,
                     s.reconstruction_sum,
                     s.kl_sum,
                     s.norm_sum};
    values.insert(values.end(), s.mean_sum.begin(), s.mean_sum.end());
    values.insert(values.end(), s.mean_square_sum.begin(), s.mean_square_sum.end());
    for (const EpochRecord& r : s.history) {  // all but the time they took
      values.insert(values.end(),
                    {static_cast<double>(r.epoch), static_cast<double>(r.steps), r.training.loss,
                     r.training.reconstruction, r.training.kl, r.validation.value().loss,
                     r.validation->reconstruction, r.validation->kl, r.deviance.value_or(0), r.learning_rate,
                     r.kl_weight, r.gradient_norm, static_cast<double>(r.active_latent_units)});
    }
    return values;
  };
  EXPECT_TRUE(equal(numbers(actual), numbers(expected)));
}

TEST_P(TrainerTest, StoppedAfterAnyStepItGoesOnToTheSameBits) {
  if (master() != DType::f32) GTEST_SKIP() << "weights travel as f32";
  const SpectrumImage image = random_image(2, 3, small_shape());
  Config config = small_config();
  config.training.augment = true;
  config.training.validation_fraction = 0.2;  // 5 tiles to train on: 3 batches, the last one filled up
  config.preprocess.sigma = 0;                // so that the held-out tile is wide enough to measure noise in
  config.preprocess.xy_window = 1;
  config.training.lr_patience = 1;
  config.training.learning_rate = 0.03;  // too high, so that the rate is lowered in the course of the run
  config.training.epochs = 4;
  config.loss.kl_warmup_epochs = 2;
  const bool slow = GetParam().device == "emulated";
  for (const int64_t blind : {0, 2}) {
    SCOPED_TRACE(blind > 0 ? "of cells" : "of tiles");
    ModelShape shape = small_shape();
    shape.blind = blind;
    const auto make = [&] {
      return std::make_unique<AllocatedModel>(backend(), shape, config.loss.reconstruction, 2,
                                              Purpose::training);
    };

    const auto whole = make();
    whole->initialize(1);
    Trainer whole_trainer(*whole, config, image);
    TrainingState expected = whole_trainer.initial_state();
    Recorder whole_recorder;
    ASSERT_TRUE(whole_trainer.run(expected, whole_recorder));
    ASSERT_EQ(expected.step, 12u);
    ASSERT_TRUE(expected.history.back().deviance);
    EXPECT_LT(expected.schedule.learning_rate, 0.03);

    const uint64_t apart = slow || blind > 0 ? 5 : 1;
    for (uint64_t stop = 1; stop < expected.step; stop += apart) {
      SCOPED_TRACE("stopped after step " + std::to_string(stop));
      const auto first = make(), second = make();
      first->initialize(1);
      Trainer trainer(*first, config, image);
      TrainingState state = trainer.initial_state();
      Recorder recorder(stop);
      ASSERT_FALSE(trainer.run(state, recorder));
      ASSERT_EQ(state.step, stop);

      second->initialize(99);
      copy_states(*first, *second);
      Trainer continued(*second, config, image);
      ASSERT_TRUE(continued.run(state, recorder));
      EXPECT_TRUE(equal(recorder.losses, whole_recorder.losses));
      expect_equal(state, expected);
      for (size_t i = 0; i < whole->states().size(); ++i)
        EXPECT_TRUE(equal(values_of(*second, second->states()[i]), values_of(*whole, whole->states()[i])))
            << whole->states()[i].name;
    }
  }
}

// As the training report does it.
TEST_P(TrainerTest, WhatAnObserverEvaluatesBetweenEpochsChangesNoBit) {
  class Looker final : public TrainingObserver {
   public:
    Looker(Model& model, const SpectrumImage& image, TileOrigin tile, bool looks)
        : model_(model), image_(image), tile_(tile), looks_(looks) {}
    void on_step(const TrainingState&, int64_t, double loss) override { losses.push_back(loss); }
    void on_epoch(const TrainingState&, bool) override {
      if (!looks_) return;
      float* tiles = model_.next_tiles();
      for (int64_t b = 0; b < model_.batch(); ++b)
        copy_tile(image_, tile_, model_.shape().image_size, 0, tiles + b * model_.shape().tile_count());
      model_.load_tiles();
      model_.evaluate();
      seen += std::abs(model_.evaluated_reconstruction(0)[5]);
    }
    bool stop_requested() override { return false; }

    Values losses;
    double seen = 0;

   private:
    Model& model_;
    const SpectrumImage& image_;
    TileOrigin tile_;
    bool looks_;
  };
  const SpectrumImage image = random_image(2, 3, small_shape());
  Config config = small_config();
  config.training.augment = true;
  config.training.validation_fraction = 0.3;
  config.training.epochs = 2;
  std::vector<Values> losses, weights;
  for (const bool looks : {false, true}) {
    AllocatedModel model(backend(), small_shape(), config.loss.reconstruction, 2, Purpose::training);
    model.initialize(1);
    Trainer trainer(model, config, image);
    Looker looker(model, image, trainer.sample_tile(), looks);
    TrainingState state = trainer.initial_state();
    ASSERT_TRUE(trainer.run(state, looker));
    EXPECT_EQ(looker.seen > 0, looks);
    losses.push_back(looker.losses);
    for (const Model::State& each : model.states()) weights.push_back(values_of(model, each));
  }
  EXPECT_TRUE(equal(losses[1], losses[0]));
  for (size_t i = 0; i < weights.size() / 2; ++i)
    EXPECT_TRUE(equal(weights[weights.size() / 2 + i], weights[i])) << i;
}

TEST_P(TrainerTest, SaysWhenTheLossIsNoNumberAnyMore) {
  const auto message = [&](const Config& config, const SpectrumImage& image) -> std::string {
    AllocatedModel model(backend(), small_shape(), config.loss.reconstruction, 1, Purpose::training);
    model.initialize(1);
    Trainer trainer(model, config, image);
    TrainingState state = trainer.initial_state();
    Recorder recorder;
    try {
      trainer.run(state, recorder);
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  };
  Config config = small_config();
  SpectrumImage image = random_image(1, 2, small_shape());
  EXPECT_EQ(message(config, image), "");
  image.counts[100] = image.counts[image.counts.size() - 100] = NAN;
  EXPECT_EQ(message(config, image),
            "the loss is no longer a finite number in epoch 1, step 1; lower training.learning_rate or "
            "training.clip_value");
  config.preprocess.scaling_method = Scaling::none;
  EXPECT_NE(message(config, image).find("the counts are not scaled: set preprocess.scaling_method"),
            std::string::npos);
  config.preprocess.scaling_method = Scaling::robust_minmax;

  image = random_image(1, 2, small_shape());
  config.training.learning_rate = 1e100;  // the first step takes the weights out of range
  EXPECT_NE(message(config, image).find("in epoch 1, step 2; lower"), std::string::npos);
}

EELSVAE_FOR_EACH_BACKEND(TrainerTest);

TEST(PlateauSchedule, LowersTheRateWhenPyTorchDoes) {
  // torch.optim.lr_scheduler.ReduceLROnPlateau(torch.optim.Adam(p, lr=1e-3), patience=..., factor=...), the
  // rate after each step(loss). 8.9999 is progress over 9 too small to count, as is 7.9993 over 8.
  const std::vector<double> losses = {10, 9, 8.9999, 8.9995, 8.9991, 9.5,      8, 8, 8, 8,
                                      8,  8, 7.9993, 7.9991, 9,      infinity, 7, 7, 7, 7};
  const std::vector<double> patience_2_factor_half = {
      1e-3,   1e-3,   1e-3,    1e-3,    5e-4,    5e-4,    5e-4,    5e-4,    5e-4,    2.5e-4,
      2.5e-4, 2.5e-4, 1.25e-4, 1.25e-4, 1.25e-4, 1.25e-4, 1.25e-4, 1.25e-4, 1.25e-4, 6.25e-5};
  const std::vector<double> patience_1_factor_3_tenths = {
      1e-3,   1e-3,   1e-3,    3e-4,    3e-4,    9e-5,    9e-5,    9e-5,    2.7e-5,   2.7e-5,
      8.1e-6, 8.1e-6, 2.43e-6, 2.43e-6, 2.43e-6, 7.29e-7, 7.29e-7, 7.29e-7, 2.187e-7, 2.187e-7};
  const auto rates = [&](int64_t patience, double factor) {
    PlateauSchedule schedule;
    schedule.learning_rate = 1e-3;
    std::vector<double> result;
    for (double loss : losses) {
      schedule.observe(loss, patience, factor);
      result.push_back(schedule.learning_rate);
    }
    return result;
  };
  for (const auto& [actual, expected] : {std::pair{rates(2, 0.5), patience_2_factor_half},
                                         {rates(1, 0.3), patience_1_factor_3_tenths},
                                         {rates(0, 0.5), std::vector<double>(losses.size(), 1e-3)}})
    for (size_t i = 0; i < losses.size(); ++i)
      EXPECT_NEAR(actual[i], expected[i], 1e-12 * expected[i]) << "after loss " << i;
}

TEST(KlWarmup, RisesLinearlyToTheFullWeight) {
  LossConfig loss;
  loss.kl_weight = 1.2;
  const auto weights = [&](int64_t warmup) {
    loss.kl_warmup_epochs = warmup;
    Values values;
    for (int64_t epoch = 0; epoch < 5; ++epoch) values.push_back(kl_weight_at(loss, epoch));
    return values;
  };
  EXPECT_TRUE(close(weights(4), {0.3, 0.6, 0.9, 1.2, 1.2}, 1e-15));
  EXPECT_TRUE(equal(weights(0), {1.2, 1.2, 1.2, 1.2, 1.2}));
  EXPECT_TRUE(equal(weights(1), {1.2, 1.2, 1.2, 1.2, 1.2}));
}

TEST(KlWarmup, WeighsTheTermDuringItsEpochOnly) {
  const std::unique_ptr<Backend> backend = make_backend("cpu", "fp32");
  const SpectrumImage image = random_image(1, 2, small_shape());
  Config config = small_config();
  config.loss.kl_weight = 1.2;
  config.loss.kl_warmup_epochs = 2;
  AllocatedModel model(*backend, small_shape(), config.loss.reconstruction, 1, Purpose::training);
  model.initialize(1);
  Trainer trainer(model, config, image);
  TrainingState state = trainer.initial_state();
  Recorder recorder;
  trainer.run(state, recorder);
  Values kl_weights;
  for (const EpochRecord& record : state.history) {
    kl_weights.push_back(record.kl_weight);
    // Losses of different epochs stay comparable.
    EXPECT_DOUBLE_EQ(record.training.loss, record.training.reconstruction + 1.2 * record.training.kl);
  }
  EXPECT_TRUE(close(kl_weights, {0.6, 1.2, 1.2}, 1e-15));
}

TEST(ActiveUnits, VaryOverTheTilesByMoreThanAHundredth) {
  // Over four tiles: constant; +-0.2 about 5 (variance 0.04); +-0.05 about 0 (variance 0.0025).
  EXPECT_EQ(active_units({12, 20, 0}, {36, 4 * (25 + 0.04), 4 * 0.0025}, 4), 1);
  EXPECT_EQ(active_units({}, {}, 4), 0);
}

}  // namespace
}  // namespace eelsvae
