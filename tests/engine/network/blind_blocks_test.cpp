#include "engine/network/blind_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/network/reconstruction.h"
#include "tests/engine/network/test_model.h"

namespace eelsvae {
namespace {

TEST(BlindBlocks, EveryPixelIsHiddenAsOftenAsAnyOther) {
  for (const int64_t side : {2, 5, 8})
    for (const auto& [passes, times] : {std::pair{4, 1}, {16, 4}}) {
      const std::vector<BlindBlocks> list = blind_passes(side, passes);
      ASSERT_EQ(std::ssize(list), passes);
      for (int64_t y = 0; y < 4 * side; ++y)
        for (int64_t x = 0; x < 4 * side; ++x)
          ASSERT_EQ(std::ranges::count_if(list, [&](const BlindBlocks& b) { return b.hides(y, x); }), times)
              << side << ": " << y << ", " << x;
    }
  EXPECT_EQ((BlindBlocks{2, 0, 0}.share_of(8)), BlindBlocks::share);
  EXPECT_EQ((BlindBlocks{2, 0, 0}.share_of(2)), 1);
}

class CellsTest : public BackendTest {};

// Neither does it copy what a spectrum is, nor what has been put into it.
TEST_P(CellsTest, ASpectrumIsToldWithoutBeingShown) {
  ModelShape shape = small_shape();
  shape.blind = 2;
  SpectrumImage image;
  image.y.size = 12;
  image.x.size = 16;
  image.energy.size = shape.energy;
  for (const float count : random_tiles(shape, 3, 1)) image.counts.push_back(count);
  AllocatedModel model(backend(), shape, ReconstructionLoss::cross_entropy, 2, Purpose::inference);
  model.initialize(3);
  for (const int64_t passes : {4, 16}) {
    SCOPED_TRACE(passes);
    const auto told = [&] { return reconstruct_image(model, image, 8, Blend::uniform, passes); };
    const Reconstruction before = told();
    EXPECT_TRUE(before.latent.empty());
    ASSERT_EQ(before.spectra.size(), image.counts.size());
    const int64_t changed = 5 * image.x.size + 7;
    // Another spectrum with the same total, which is taken as it is.
    std::reverse(image.spectrum(changed), image.spectrum(changed) + shape.energy);
    const Reconstruction after = told();
    std::reverse(image.spectrum(changed), image.spectrum(changed) + shape.energy);
    int64_t others = 0;
    double largest = 0;
    for (int64_t pixel = 0; pixel < image.pixels(); ++pixel)
      for (int64_t e = 0; e < shape.energy; ++e) {
        const auto i = static_cast<size_t>(pixel * shape.energy + e);
        const double difference =
            std::abs(static_cast<double>(after.spectra[i]) - static_cast<double>(before.spectra[i]));
        if (pixel == changed) largest = std::max(largest, difference);
        if (pixel != changed) others += difference > 0;
      }
    // Only the order in which the total is summed may tell.
    EXPECT_LE(largest, 1e-5 * 0.5 * static_cast<double>(shape.energy));
    EXPECT_GT(others, 0) << "its neighbours see it";
  }
}

// A model in training tells of a tile what the same weights tell of an image of its size.
TEST_P(CellsTest, InTrainingATileIsToldAsInADetection) {
  ModelShape shape = small_shape();
  shape.blind = 2;
  SpectrumImage image;
  image.y.size = image.x.size = shape.image_size;
  image.energy.size = shape.energy;
  const std::vector<float> tiles = random_tiles(shape, 2, 5);
  image.counts.assign(tiles.begin(), tiles.begin() + shape.tile_count());
  AllocatedModel training(backend(), shape, ReconstructionLoss::cross_entropy, 3, Purpose::training),
      inference(backend(), shape, ReconstructionLoss::cross_entropy, 1, Purpose::inference);
  training.initialize(3);
  inference.initialize(3);
  const std::vector<float> told = reconstruct_tiles(training, tiles);
  ASSERT_EQ(told.size(), tiles.size());
  const Reconstruction expected = reconstruct_image(inference, image, 8, Blend::uniform);
  const double tolerance = tolerance_of(GetParam().precision).output;
  EXPECT_TRUE(close(Values(told.begin(), told.begin() + shape.tile_count()),
                    Values(expected.spectra.begin(), expected.spectra.end()), tolerance));
}

EELSVAE_FOR_EACH_BACKEND(CellsTest);

}  // namespace
}  // namespace eelsvae
