#include "engine/image/tiling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "kernels/error.h"

namespace eelsvae {
namespace {

SpectrumImage numbered_image(int64_t height, int64_t width, int64_t channels) {
  SpectrumImage image;
  image.y.size = height;
  image.x.size = width;
  image.energy.size = channels;
  image.counts.resize(static_cast<size_t>(height * width * channels));
  for (size_t i = 0; i < image.counts.size(); ++i) image.counts[i] = static_cast<float>(i);
  return image;
}

TEST(TileStarts, CoverEveryPixelWithoutLeavingTheAxis) {
  std::mt19937 generator(3);
  for (int trial = 0; trial < 500; ++trial) {
    const int64_t tile = std::uniform_int_distribution<int64_t>(1, 40)(generator);
    const int64_t size = tile + std::uniform_int_distribution<int64_t>(0, 100)(generator);
    const int64_t stride = std::uniform_int_distribution<int64_t>(1, tile)(generator);
    std::vector<int64_t> starts = tile_starts(size, tile, stride);
    std::vector<int> covered(static_cast<size_t>(size));
    for (int64_t start : starts) {
      ASSERT_GE(start, 0);
      ASSERT_LE(start + tile, size);
      for (int64_t i = start; i < start + tile; ++i) ++covered[static_cast<size_t>(i)];
    }
    ASSERT_EQ(std::count(covered.begin(), covered.end(), 0), 0) << size << " " << tile << " " << stride;
    ASSERT_EQ(std::set<int64_t>(starts.begin(), starts.end()).size(), starts.size()) << "a tile twice";
    ASSERT_TRUE(std::is_sorted(starts.begin(), starts.end()));
  }
}

TEST(TileStarts, AreAnchoredAtTheFarEdge) {
  EXPECT_EQ(tile_starts(24, 24, 24), (std::vector<int64_t>{0}));
  EXPECT_EQ(tile_starts(48, 24, 24), (std::vector<int64_t>{0, 24}));
  EXPECT_EQ(tile_starts(50, 24, 24), (std::vector<int64_t>{0, 24, 26}));
  EXPECT_EQ(tile_starts(40, 24, 12), (std::vector<int64_t>{0, 12, 16}));
}

TEST(TileStarts, RefuseWhatDoesNotCover) {
  EXPECT_THROW(tile_starts(20, 24, 24), UserError);
  EXPECT_THROW(tile_starts(100, 24, 25), UserError);
  EXPECT_THROW(tile_starts(100, 24, 0), UserError);
  try {
    make_tile_grid(20, 210, 24, 24);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("20 x 210"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("24 x 24"), std::string::npos) << error.what();
  }
}

TEST(TileGrid, IsThePublishedOneFor192Pixels) {
  TileGrid grid = make_tile_grid(192, 192, 24, 24);
  ASSERT_EQ(grid.size(), 64);
  EXPECT_EQ(grid.origins[18], (TileOrigin{48, 48}));
  EXPECT_EQ(grid.index(2, 2), 18);
  EXPECT_EQ(make_tile_grid(210, 210, 24, 24).size(), 81);
}

TEST(CopyTile, HasEightDifferentOrientationsThatKeepEverySpectrum) {
  SpectrumImage image = numbered_image(6, 7, 3);
  const int64_t tile = 4;
  const TileOrigin origin{1, 2};
  std::set<std::vector<float>> seen;
  std::vector<float> upright(static_cast<size_t>(tile * tile * 3));
  copy_tile(image, origin, tile, 0, upright.data());
  for (int64_t y = 0; y < tile; ++y)
    for (int64_t x = 0; x < tile; ++x)
      for (int64_t e = 0; e < 3; ++e)
        ASSERT_EQ(upright[static_cast<size_t>((y * tile + x) * 3 + e)],
                  image.spectrum((y + 1) * 7 + x + 2)[e]);
  for (int orientation = 0; orientation < orientation_count; ++orientation) {
    std::vector<float> turned(upright.size(), std::nanf(""));
    copy_tile(image, origin, tile, orientation, turned.data());
    std::vector<float> sorted = turned, expected = upright;
    std::sort(sorted.begin(), sorted.end());
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(sorted, expected) << orientation;
    // Neighbours stay neighbours, and channels keep their order.
    for (int64_t y = 0; y < tile; ++y)
      for (int64_t x = 0; x + 1 < tile; ++x) {
        const float* here = turned.data() + (y * tile + x) * 3;
        EXPECT_EQ(here[1] - here[0], 1.0f);
        const float step = std::abs(here[3] - here[0]);
        EXPECT_TRUE(step == 3.0f || step == 21.0f) << orientation;
      }
    seen.insert(turned);
  }
  EXPECT_EQ(seen.size(), 8u);
}

TEST(BlendWindow, IsPositiveAndSymmetric) {
  for (Blend blend : {Blend::uniform, Blend::cosine})
    for (int64_t tile : {4, 24, 25}) {
      std::vector<float> window = blend_window(blend, tile);
      ASSERT_EQ(window.size(), static_cast<size_t>(tile));
      for (size_t i = 0; i < window.size(); ++i) {
        EXPECT_GT(window[i], 0);
        EXPECT_FLOAT_EQ(window[i], window[window.size() - 1 - i]);
      }
    }
}

TEST(BlendedCube, PutsTheImageBackTogether) {
  std::mt19937 generator(8);
  std::normal_distribution<float> normal(50, 10);
  SpectrumImage image = numbered_image(31, 27, 5);
  for (float& count : image.counts) count = normal(generator);
  const int64_t tile = 8;
  std::vector<float> values(static_cast<size_t>(tile * tile * 5));
  for (Blend blend : {Blend::uniform, Blend::cosine})
    for (int64_t stride : {1, 4, 5, 8}) {
      BlendedCube cube(31, 27, 5, tile, blend);
      for (TileOrigin origin : make_tile_grid(31, 27, tile, stride).origins) {
        copy_tile(image, origin, tile, 0, values.data());
        cube.add(origin, values.data());
      }
      CountArray blended = cube.take();
      ASSERT_EQ(blended.size(), image.counts.size());
      for (size_t i = 0; i < blended.size(); ++i) ASSERT_NEAR(blended[i], image.counts[i], 1e-4);
    }
}

TEST(BlendedCube, WeighsOverlappingTilesByTheirWindows) {
  const int64_t tile = 4;
  BlendedCube cube(4, 6, 1, tile, Blend::cosine);
  std::vector<float> ones(16, 1.0f), threes(16, 3.0f);
  cube.add({0, 0}, ones.data());
  cube.add({0, 2}, threes.data());
  CountArray blended = cube.take();
  std::vector<float> window = blend_window(Blend::cosine, tile);
  EXPECT_FLOAT_EQ(blended[0], 1);
  EXPECT_FLOAT_EQ(blended[5], 3);
  EXPECT_FLOAT_EQ(blended[6 + 2], (window[2] * 1 + window[0] * 3) / (window[2] + window[0]));
}

TEST(BlendedCube, MissesNoPixelSilently) {
  BlendedCube cube(4, 5, 2, 4, Blend::uniform);
  std::vector<float> values(32);
  cube.add({0, 0}, values.data());
  EXPECT_THROW(cube.take(), std::logic_error);
}

}  // namespace
}  // namespace eelsvae
