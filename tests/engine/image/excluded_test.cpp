// Pixels that are left out: nothing depends on what they hold, and they get no result.

#include "engine/image/excluded.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "engine/detect/detection.h"
#include "engine/detect/thresholds.h"
#include "engine/prepare/preprocess.h"
#include "engine/train/trainer.h"
#include "tests/engine/network/test_model.h"
#include "tests/engine/prepare/processor_steps.h"

namespace eelsvae {
namespace {

constexpr float nan_f = std::numeric_limits<float>::quiet_NaN();

SpectrumImage image_of(int64_t height, int64_t width, int64_t channels) {
  SpectrumImage image;
  image.y = {"y", "nm", 0, 1, height};
  image.x = {"x", "nm", 0, 1, width};
  image.energy = {"Energy loss", "eV", 420, 0.3, channels};
  image.counts.resize(static_cast<size_t>(image.pixels() * channels));
  return image;
}

SpectrumImage random_image(int64_t height, int64_t width, int64_t channels) {
  SpectrumImage image = image_of(height, width, channels);
  std::mt19937 generator(3);
  std::normal_distribution<float> counts(40, 15);
  for (float& count : image.counts) count = counts(generator);
  return image;
}

// The image with these pixels excluded and filled.
SpectrumImage excluding(SpectrumImage image, const std::vector<int64_t>& pixels, float filled) {
  image.excluded.assign(static_cast<size_t>(image.pixels()), 0);
  for (int64_t pixel : pixels) {
    image.excluded[static_cast<size_t>(pixel)] = 1;
    std::fill_n(image.spectrum(pixel), image.energy.size, filled);
  }
  return image;
}

// A corner, a border, a block and a lone pixel of 7 x 9.
const std::vector<int64_t> some_pixels = {0, 5, 20, 21, 29, 30, 62};

TEST(Excluded, AreCountedAndCleared) {
  const SpectrumImage image = random_image(7, 9, 5);
  EXPECT_EQ(excluded_pixels(image.excluded), 0);
  SpectrumImage cleared = excluding(image, some_pixels, nan_f);
  cleared.excluded[5] = 200;
  EXPECT_EQ(excluded_pixels(cleared.excluded), 7);
  fill_excluded(cleared.excluded, cleared.counts, 0);
  EXPECT_EQ(cleared.counts, excluding(image, some_pixels, 0).counts);
  fill_excluded({}, cleared.counts, 0);
  EXPECT_EQ(cleared.counts, excluding(image, some_pixels, 0).counts);
}

TEST(ExcludedInFilters, AnImageOfOneSpectrumStaysAsItIs) {
  for (float sigma : {0.5f, 3.0f}) {
    SpectrumImage image = image_of(7, 9, 20);
    std::fill(image.counts.begin(), image.counts.end(), 8.0f);
    image = excluding(image, some_pixels, nan_f);
    gaussian_filter(image, static_cast<double>(sigma));
    spatial_mean(image, 3);
    for (int64_t pixel = 0; pixel < image.pixels(); ++pixel)
      for (int64_t e = 0; e < 20; ++e)
        ASSERT_NEAR(image.spectrum(pixel)[e], image.excluded[static_cast<size_t>(pixel)] ? 0 : 8, 1e-5)
            << pixel << " " << e;
  }
}

TEST(ExcludedInFilters, TheMeanIsThatOfThePixelsThatAreLeft) {
  const SpectrumImage image = excluding(random_image(7, 9, 3), some_pixels, 1e30f);
  SpectrumImage filtered = image;
  spatial_mean(filtered, 3);
  auto mirrored = [](int64_t i, int64_t n) { return i < 0 ? 0 : i == n ? n - 1 : i; };
  for (int64_t y = 0; y < 7; ++y)
    for (int64_t x = 0; x < 9; ++x) {
      double sum = 0, weights = 0;
      for (int64_t j = y - 1; j <= y + 1; ++j)
        for (int64_t i = x - 1; i <= x + 1; ++i) {
          const int64_t pixel = mirrored(j, 7) * 9 + mirrored(i, 9);
          if (image.excluded[static_cast<size_t>(pixel)]) continue;
          sum += static_cast<double>(image.spectrum(pixel)[1]);
          ++weights;
        }
      const bool excluded = image.excluded[static_cast<size_t>(y * 9 + x)];
      ASSERT_NEAR(filtered.spectrum(y * 9 + x)[1], excluded ? 0 : sum / weights, 1e-4) << y << " " << x;
    }
}

TEST(ExcludedInFilters, AMaskOfNoPixelChangesNoBit) {
  SpectrumImage plain = random_image(7, 9, 20), masked = excluding(plain, {}, 0);
  for (SpectrumImage* image : {&plain, &masked}) {
    gaussian_filter(*image, 0.8);
    spatial_mean(*image, 3);
  }
  EXPECT_EQ(masked.counts, plain.counts);
}

class ExcludedInScaling : public testing::TestWithParam<Scaling> {};

// Without filters the pixels that are left must come out as those of an image that never had the others.
TEST_P(ExcludedInScaling, IsFittedToThePixelsThatAreLeft) {
  PreprocessConfig config;
  config.scaling_method = GetParam();
  config.sigma = 0;
  config.xy_window = 1;
  const SpectrumImage image = random_image(7, 9, 32);
  SpectrumImage left = image_of(8, 7, 32);  // 56 of 63
  int64_t pixels = 0;
  for (int64_t pixel = 0; pixel < 63; ++pixel)
    if (std::find(some_pixels.begin(), some_pixels.end(), pixel) == some_pixels.end())
      std::copy_n(image.spectrum(pixel), 32, left.spectrum(pixels++));
  ASSERT_EQ(pixels, 56);
  const ScalingParameters expected = prepare(left, config, std::nullopt).scaling;
  for (float filled : {1e30f, nan_f, -std::numeric_limits<float>::infinity()}) {
    const PreparedImage prepared = prepare(excluding(image, some_pixels, filled), config, std::nullopt);
    // Sums are added up in another order.
    EXPECT_NEAR(prepared.scaling.offset, expected.offset, 1e-12 * std::abs(expected.offset));
    EXPECT_NEAR(prepared.scaling.range, expected.range, 1e-12 * std::abs(expected.range));
    EXPECT_EQ(prepared.scaling.quantiles, expected.quantiles);
    SpectrumImage scaled = image;
    apply_scaling(prepared.scaling, scaled.counts);
    EXPECT_EQ(prepared.image.counts, excluding(scaled, some_pixels, 0).counts);
  }
}

INSTANTIATE_TEST_SUITE_P(All, ExcludedInScaling,
                         testing::Values(Scaling::robust_minmax, Scaling::minmax, Scaling::zscore,
                                         Scaling::quantile, Scaling::none));

TEST(ExcludedInPrepare, WhatTheyHoldChangesNoBit) {
  const PreprocessConfig config;
  const SpectrumImage image = random_image(7, 9, 50);
  const PreparedImage expected = prepare(excluding(image, some_pixels, 0), config, std::nullopt);
  for (float filled : {40.0f, 1e38f, -1e38f, nan_f, std::numeric_limits<float>::infinity()}) {
    const PreparedImage prepared = prepare(excluding(image, some_pixels, filled), config, std::nullopt);
    EXPECT_EQ(prepared.scaling, expected.scaling);
    EXPECT_EQ(prepared.image.counts, expected.image.counts);
    EXPECT_EQ(prepared.image.excluded, expected.image.excluded);
  }
  for (int64_t pixel : some_pixels)
    EXPECT_EQ(std::count(expected.image.spectrum(pixel), expected.image.spectrum(pixel) + 48, 0.0f), 48);
}

TEST(ExcludedInPrepare, RefusesAnImageWithoutOthers) {
  std::vector<int64_t> all(63);
  for (int64_t i = 0; i < 63; ++i) all[static_cast<size_t>(i)] = i;
  EXPECT_THROW(prepare(excluding(random_image(7, 9, 32), all, 1), {}, std::nullopt), UserError);
  SpectrumImage bad = excluding(random_image(7, 9, 32), some_pixels, nan_f);
  bad.spectrum(1)[3] = nan_f;
  EXPECT_THROW(prepare(bad, {}, std::nullopt), UserError) << "this pixel is not excluded";
}

TEST(ExcludedTiles, HoldNoOtherPixel) {
  SpectrumImage image = image_of(4, 5, 1);
  EXPECT_FALSE(all_excluded(image, {0, 0}, 2));
  image.excluded = {0, 0, 0, 0, 0,  //
                    0, 0, 1, 1, 0,  //
                    0, 0, 1, 2, 1,  //
                    0, 0, 0, 0, 1};
  EXPECT_TRUE(all_excluded(image, {1, 2}, 2));
  EXPECT_FALSE(all_excluded(image, {1, 1}, 2));
  EXPECT_FALSE(all_excluded(image, {1, 3}, 2));
  EXPECT_FALSE(all_excluded(image, {2, 3}, 2));
}

// ---- training and detection ----

class Losses : public TrainingObserver {
 public:
  void on_step(const TrainingState&, int64_t, double loss) override { values.push_back(loss); }
  void on_epoch(const TrainingState&, bool) override {}
  bool stop_requested() override { return false; }
  Values values;
};

// 2 x 3 tiles, one of which is excluded as a whole; of its neighbour a corner is.
SpectrumImage image_of_tiles(float filled) {
  const ModelShape shape = small_shape();
  const SpectrumImage image = random_image(2 * shape.image_size, 3 * shape.image_size, shape.energy);
  std::vector<int64_t> pixels;
  for (int64_t y = 0; y < image.y.size; ++y)
    for (int64_t x = 0; x < image.x.size; ++x)
      if (y >= 8 && x >= 13) pixels.push_back(y * image.x.size + x);
  return excluding(image, pixels, filled);
}

Config small_config(ReconstructionLoss loss) {
  Config config;
  config.tiles.image_size = config.tiles.sliding_window_stride = small_shape().image_size;
  config.loss.reconstruction = loss;
  config.training.epochs = 2;
  config.training.seed = 5;
  config.training.validation_fraction = 0;
  return config;
}

class ExcludedTest : public BackendTest {};
EELSVAE_FOR_EACH_BACKEND(ExcludedTest);

TEST_P(ExcludedTest, ATrainingRunIsTheSameToTheBitWhateverTheyHold) {
  for (ReconstructionLoss kind :
       {ReconstructionLoss::cross_entropy, ReconstructionLoss::mse, ReconstructionLoss::poisson}) {
    const Config config = small_config(kind);
    Values expected;
    for (float filled : {0.0f, 1e30f, nan_f}) {
      const PreparedImage prepared = prepare(image_of_tiles(filled), config.preprocess, std::nullopt);
      AllocatedModel model(backend(), small_shape(), kind, 1, Purpose::training);
      model.initialize(1);
      Trainer trainer(model, config, prepared.image);
      TrainingState state = trainer.initial_state();
      Losses losses;
      ASSERT_TRUE(trainer.run(state, losses));
      if (expected.empty()) expected = losses.values;
      EXPECT_TRUE(equal(losses.values, expected)) << filled;
    }
  }
}

// With all weights at zero and a learning rate of zero the squared error of a tile is the sum of its squares.
TEST_P(ExcludedTest, GiveNoTermToTheLoss) {
  Config config = small_config(ReconstructionLoss::mse);
  config.training.learning_rate = 0;
  config.training.epochs = 1;
  SpectrumImage image = image_of_tiles(0);
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel)
    if (!image.excluded[static_cast<size_t>(pixel)])
      std::fill_n(image.spectrum(pixel), image.energy.size, 0.5f);
  AllocatedModel model(backend(), small_shape(), ReconstructionLoss::mse, 1, Purpose::training);
  for (const Model::State& state : model.states()) {
    std::vector<float> values(values_of(model, state).size());
    if (state.name == "decoder.11.bias") values[0] = 1;
    set_values(model, state, values);
  }
  model.refresh();
  Trainer trainer(model, config, image);
  EXPECT_EQ(trainer.training_tiles(), 5);
  EXPECT_EQ(trainer.excluded_tiles(), 1);
  TrainingState state = trainer.initial_state();
  Losses losses;
  ASSERT_TRUE(trainer.run(state, losses));
  // The network says 1 everywhere. Of the tile at y 8, x 8, 5 of 8 columns are left.
  const double whole = 0.25 * static_cast<double>(small_shape().tile_count());
  std::sort(losses.values.begin(), losses.values.end());
  EXPECT_TRUE(equal(losses.values, {whole * 5 / 8, whole, whole, whole, whole}));
}

TEST_P(ExcludedTest, TilesWithoutOtherPixelsAreNotValidatedWithEither) {
  Config config = small_config(ReconstructionLoss::mse);
  config.training.validation_fraction = 0.4;
  const SpectrumImage image = image_of_tiles(0);
  Model model(backend(), small_shape(), ReconstructionLoss::mse, 1, Purpose::training);
  const Trainer trainer(model, config, image);
  EXPECT_EQ(trainer.training_tiles(), 3);
  EXPECT_EQ(trainer.validation_tiles(), 2);
  EXPECT_EQ(trainer.excluded_tiles(), 1);
  config.tiles.anomaly_indices = {0, 1, 2, 3, 4};
  EXPECT_THROW(Trainer(model, config, image), UserError);
  config.tiles.anomaly_indices = {5};
  EXPECT_EQ(Trainer(model, config, image).excluded_tiles(), 0) << "counted as anomalous";
}

TEST_P(ExcludedTest, HaveNoScoreAndNoReconstruction) {
  for (ReconstructionLoss kind :
       {ReconstructionLoss::cross_entropy, ReconstructionLoss::mse, ReconstructionLoss::poisson}) {
    Config config = small_config(kind);
    config.detection.threshold_method = ThresholdMethod::otsu;
    std::vector<float> expected;
    for (float filled : {0.0f, 1e30f, nan_f}) {
      const SpectrumImage image = prepare(image_of_tiles(filled), config.preprocess, std::nullopt).image;
      AllocatedModel model(backend(), small_shape(), kind, 2, Purpose::inference);
      model.initialize(1);
      const Expectation expectation = expect_from(model, image, config.detection);
      const Detection found = detect(image, expectation, config.preprocess, config.detection);
      std::vector<float> kept;
      for (size_t pixel = 0; pixel < image.excluded.size(); ++pixel) {
        const bool excluded = image.excluded[pixel];
        ASSERT_EQ(std::isnan(found.scores[pixel]), excluded) << pixel;
        if (!excluded) kept.push_back(found.scores[pixel]);
        ASSERT_FALSE(excluded && found.mask[pixel]) << pixel;
        const auto begin = expectation.spectra.begin() + static_cast<int64_t>(pixel) * image.energy.size;
        ASSERT_EQ(std::all_of(begin, begin + image.energy.size, [](float v) { return v == 0; }), excluded);
      }
      EXPECT_EQ(found.threshold, otsu_threshold(kept)) << "the threshold is that of the others";
      if (expected.empty()) expected = kept;
      EXPECT_EQ(kept, expected);
    }
  }
}

}  // namespace
}  // namespace eelsvae
