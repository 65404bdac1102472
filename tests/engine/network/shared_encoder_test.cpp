#include "engine/network/shared_encoder.h"

#include <gtest/gtest.h>

#include <set>

#include "engine/network/model_probe.h"
#include "engine/network/reconstruction.h"
#include "tests/engine/network/test_model.h"

namespace eelsvae {
namespace {

constexpr AxisWindow published[] = {{1, 1, 0}, {3, 1, 1}, {3, 2, 1}, {3, 2, 1}};

// What a line is made of: the image's lines that it sees, in order, with -1 for zeros.
std::vector<int64_t> seen(const SharedLines& shared, size_t convolution, int64_t line) {
  const std::vector<int64_t>& sources = shared.sources[convolution];
  const int64_t taps = std::ssize(sources) / shared.counts[convolution + 1];
  std::vector<int64_t> all;
  for (int64_t k = 0; k < taps; ++k) {
    const int64_t source = sources[static_cast<size_t>(line * taps + k)];
    if (convolution == 0 || source < 0) {
      all.push_back(source);
    } else {
      const std::vector<int64_t> further = seen(shared, convolution - 1, source);
      all.insert(all.end(), further.begin(), further.end());
    }
  }
  return all;
}

// The same of a tile by itself.
std::vector<int64_t> seen_alone(int64_t start, int64_t tile, size_t convolution, int64_t position) {
  const AxisWindow& c = published[convolution];
  int64_t size = tile;
  for (size_t k = 0; k < convolution; ++k)
    size = (size + 2 * published[k].padding - published[k].kernel) / published[k].stride + 1;
  std::vector<int64_t> all;
  for (int64_t k = 0; k < c.kernel; ++k) {
    const int64_t i = position * c.stride + k - c.padding;
    if (i < 0 || i >= size) {
      all.push_back(-1);
    } else if (convolution == 0) {
      all.push_back(start + i);
    } else {
      const std::vector<int64_t> further = seen_alone(start, tile, convolution - 1, i);
      all.insert(all.end(), further.begin(), further.end());
    }
  }
  return all;
}

TEST(SharedLines, ATilesLinesSeeWhatTheySeeInTheTileByItself) {
  for (int64_t stride : {1, 4, 7, 12, 24}) {
    const std::vector<int64_t> starts = tile_starts(61, 24, stride);
    const SharedLines shared = share_lines(starts, 24, published);
    ASSERT_EQ(shared.tile_lines(), 6);
    for (size_t t = 0; t < starts.size(); ++t)
      for (int64_t position = 0; position < 6; ++position)
        ASSERT_EQ(seen(shared, 3, shared.of_tiles[t * 6 + static_cast<size_t>(position)]),
                  seen_alone(starts[t], 24, 3, position))
            << "stride " << stride << ", tile " << t << ", line " << position;
  }
}

TEST(SharedLines, NoLineIsComputedTwice) {
  const SharedLines shared = share_lines(tile_starts(61, 24, 12), 24, published);
  for (size_t k = 0; k < 4; ++k) {
    std::set<std::vector<int64_t>> different;
    for (int64_t line = 0; line < shared.counts[k + 1]; ++line) different.insert(seen(shared, k, line));
    EXPECT_EQ(std::ssize(different), shared.counts[k + 1]);
  }
  // Of tiles at 0, 12, 24, 36 and 37: those at 36 and 37 see different zeros, and of what strides leave out
  // also different lines.
  EXPECT_EQ(shared.counts[0], 61);
  EXPECT_EQ(shared.counts[1], 61);
  EXPECT_EQ(shared.counts[2],
            61 + 2 * 4);  // borders inside the image, seen from inside and from a tile's edge
}

TEST(SharedLines, TilesSideBySideShareNothing) {
  const SharedLines shared = share_lines(tile_starts(72, 24, 24), 24, published);
  EXPECT_EQ(shared.counts, (std::vector<int64_t>{72, 72, 72, 36, 18}));
}

class SharedEncoderTest : public BackendTest {
 protected:
  // Whole registers of channels, for which the CPU has convolutions of gathered lines.
  const ModelShape shape_ = {/*image_size=*/8, /*energy=*/32, /*channels=*/{32, 32, 32, 32}, /*hidden=*/6,
                             /*latent=*/3};

  SpectrumImage image(int64_t height, int64_t width) const {
    SpectrumImage image;
    image.y.size = height;
    image.x.size = width;
    image.energy.size = shape_.energy;
    for (double value : random_normal(height * width * shape_.energy, 0.4, 5))
      image.counts.push_back(static_cast<float>(std::clamp(0.5 + value, 0.0, 1.0)));
    return image;
  }
};

TEST_P(SharedEncoderTest, GivesTheBitsOfEachTileByItself) {
  AllocatedModel model(backend(), shape_, ReconstructionLoss::cross_entropy, 2, Purpose::inference);
  model.initialize(3);
  const SpectrumImage sample = image(13, 19);
  for (int64_t stride : {3, 4}) {
    const TileGrid grid = make_tile_grid(13, 19, 8, stride);
    // Room for the whole image, and for a few tiles.
    for (size_t memory : {size_t{1} << 30, size_t{3} << 20}) {
      const auto shared = SharedEncoder::make(model, grid, memory);
      if (!shared) GTEST_SKIP() << "no convolutions of gathered lines here";
      EXPECT_LT(shared->work(), 0.9);
      ASSERT_EQ(std::set<int64_t>(shared->order().begin(), shared->order().end()).size(),
                static_cast<size_t>(grid.size()));
      std::vector<float> tiles(static_cast<size_t>(2 * shape_.tile_count())), alone(tiles.size());
      for (int64_t i = 0; i + 1 < grid.size(); i += 2) {
        for (int64_t b = 0; b < 2; ++b)
          copy_tile(sample, grid.origins[static_cast<size_t>(shared->order()[static_cast<size_t>(i + b)])], 8,
                    0, tiles.data() + b * shape_.tile_count());
        model.load_tiles(tiles.data());
        model.reconstruct(alone.data());
        const std::vector<double> posterior = ModelProbe(model).posterior();
        const int64_t count = shape_.flattened();
        for (int64_t b = 0; b < 2; ++b)
          shared->copy_features(sample, shared->order()[static_cast<size_t>(i + b)],
                                slice(model.features(), b * count, count));
        model.encode_features();
        std::vector<std::byte> encoded(model.posterior().bytes());
        backend().download(model.posterior().data, encoded.data(), encoded.size());
        model.load_tiles(tiles.data());
        backend().upload(encoded.data(), model.posterior().data, encoded.size());
        model.start_reconstruction(Model::Start::posterior);
        const ReconstructedTiles together = model.finish_reconstruction();
        ASSERT_EQ(together.posterior, posterior) << i;
        ASSERT_TRUE(std::equal(alone.begin(), alone.end(), together.tiles)) << i;
      }
    }
  }
}

TEST_P(SharedEncoderTest, IsLeftOutWhereItSavesLittleOrHasNoRoom) {
  AllocatedModel model(backend(), shape_, ReconstructionLoss::cross_entropy, 1, Purpose::inference);
  EXPECT_EQ(SharedEncoder::make(model, make_tile_grid(16, 24, 8, 8), size_t{1} << 30), nullptr);
  EXPECT_EQ(SharedEncoder::make(model, make_tile_grid(16, 24, 8, 4), 1000), nullptr);
}

TEST_P(SharedEncoderTest, TakesNoMoreMemoryThanAllowed) {
  AllocatedModel model(backend(), shape_, ReconstructionLoss::cross_entropy, 1, Purpose::inference);
  const TileGrid grid = make_tile_grid(21, 29, 8, 4);
  int sizes = 0;
  for (size_t memory = size_t{1} << 30; const auto shared = SharedEncoder::make(model, grid, memory);
       ++sizes) {
    ASSERT_LE(shared->memory_bytes(), memory);
    memory = shared->memory_bytes() - 1;
  }
  if (sizes == 0) GTEST_SKIP() << "no convolutions of gathered lines here";
  EXPECT_GE(sizes, 3);
}

TEST_P(SharedEncoderTest, NoBitOfAnImageDependsOnWhatItsTilesShare) {
  AllocatedModel model(backend(), shape_, ReconstructionLoss::cross_entropy, 3, Purpose::inference);
  model.initialize(3);
  const SpectrumImage sample = image(16, 22);
  const auto reconstructed = [&](size_t shared_memory) {
    return reconstruct_image(model, sample, 3, Blend::cosine, 4, {}, {}, shared_memory);
  };
  const TileGrid grid = make_tile_grid(16, 22, 8, 3);
  if (!SharedEncoder::make(model, grid, size_t{1} << 30))
    GTEST_SKIP() << "no convolutions of gathered lines here";
  const Reconstruction alone = reconstructed(0);
  std::set<std::vector<int64_t>> orders;
  for (size_t memory = size_t{1} << 30; const auto shared = SharedEncoder::make(model, grid, memory);) {
    orders.insert(shared->order());
    memory = shared->memory_bytes();
    const Reconstruction found = reconstructed(memory--);
    EXPECT_EQ(found.spectra, alone.spectra) << memory;
    EXPECT_EQ(found.latent, alone.latent) << memory;
  }
  EXPECT_GE(orders.size(), 3u);
}

// In whichever order the tiles come, their latent vectors lie in that of the grid.
TEST_P(SharedEncoderTest, AnImageIsReconstructedAsFromItsTiles) {
  AllocatedModel model(backend(), shape_, ReconstructionLoss::cross_entropy, 3, Purpose::inference);
  model.initialize(3);
  const SpectrumImage sample = image(12, 15);
  const Reconstruction found = reconstruct_image(model, sample, 4, Blend::uniform);
  AllocatedModel single(backend(), shape_, ReconstructionLoss::cross_entropy, 1, Purpose::inference);
  single.initialize(3);
  std::vector<float> tile(static_cast<size_t>(shape_.tile_count()));
  for (int64_t i = 0; i < found.grid.size(); ++i) {
    copy_tile(sample, found.grid.origins[static_cast<size_t>(i)], 8, 0, tile.data());
    single.load_tiles(tile.data());
    single.evaluate();
    const std::vector<double> posterior = ModelProbe(single).posterior();
    for (size_t u = 0; u < 3; ++u)
      ASSERT_NEAR(found.latent[static_cast<size_t>(i) * 3 + u], posterior[u], 1e-2) << i;
  }
}

EELSVAE_FOR_EACH_BACKEND(SharedEncoderTest);

}  // namespace
}  // namespace eelsvae
