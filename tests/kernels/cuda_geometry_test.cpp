#include "kernels/cuda/geometry.h"

#include <gtest/gtest.h>

#include <set>

namespace eelsvae::emulated {
namespace {

constexpr int64_t two_to_31 = int64_t{1} << 31;

TEST(CudaGeometry, ElementwiseGridsHoldMoreThanTwoToThe31Elements) {
  for (int64_t count : {int64_t{0}, int64_t{1}, int64_t{4096}, int64_t{4097}, int64_t{65536} * 4096 + 1,
                        3 * two_to_31 + 5, int64_t{1} << 40}) {
    SCOPED_TRACE(count);
    const int64_t blocks = elementwise_blocks(count, 256, 4, 4);
    EXPECT_GE(blocks, 1);
    EXPECT_LE(blocks, largest_grid);
    EXPECT_GE(blocks * 4096, count);
    EXPECT_LT((blocks - 1) * 4096, std::max<int64_t>(count, 1));
  }
  EXPECT_GT(elementwise_blocks(3 * two_to_31, 256, 4, 4), 65535);
}

TEST(CudaGeometry, ColumnSumsCoverEveryRowOnce) {
  for (int64_t rows : {int64_t{1}, int64_t{7}, int64_t{64}, int64_t{24182784}, two_to_31 + 3})
    for (int64_t channels : {1, 3, 32, 100, 256, 512, 755712})
      for (int pack : {1, 4, 8}) {
        SCOPED_TRACE(testing::Message() << rows << " rows, " << channels << " channels, packs of " << pack);
        const ColumnSumSplit s(rows, channels, pack, 256);
        EXPECT_EQ(s.width % pack, 0);
        EXPECT_EQ(s.width, s.merged * channels);
        EXPECT_EQ(s.groups * s.merged + s.left_over, rows);
        EXPECT_LT(s.left_over, 8);  // a lane of a warp for each
        EXPECT_LE(s.columns * s.lanes, 256);
        EXPECT_GE(s.lanes, 1);
        EXPECT_GE(s.column_blocks * s.columns * pack, s.width);
        EXPECT_GE(s.pieces * s.piece_groups, s.groups);
        EXPECT_TRUE(s.pieces == 1 || (s.pieces - 1) * s.piece_groups < s.groups) << "an empty piece";
        if (s.width <= most_partial_results) {
          EXPECT_LE(s.pieces * s.width, most_partial_results);
        }
        EXPECT_LE(s.blocks(), largest_grid);
      }
}

TEST(CudaGeometry, GramStretchesCoverTheLengthAndFitTheWorkspace) {
  for (int64_t batch : {1, 2, 3, 8, 9, 16, 31, 33, 64, 65, 200, 1000})
    for (int64_t length : {int64_t{1}, int64_t{48}, int64_t{512}, int64_t{755712}, two_to_31 + 17}) {
      SCOPED_TRACE(testing::Message() << "batch " << batch << ", length " << length);
      const GramSplit s(batch);
      EXPECT_GE(s.tile * s.tile_rows, batch);
      EXPECT_EQ(s.piece_length(length) % 64, 0);
      EXPECT_GE(s.pieces(length) * s.piece_length(length), length);
      EXPECT_LE(s.pieces(length), s.most_pieces);
      EXPECT_LE(s.pieces(length) * s.tiles, largest_grid);
    }
}

TEST(CudaGeometry, LossesOfBlocksFitAsPartialResults) {
  for (int64_t tiles : {int64_t{1}, int64_t{64}, int64_t{4096}, int64_t{700000}, two_to_31 - 1})
    for (int64_t pixels : {1, 2, 576, 44100, 1000003}) {
      SCOPED_TRACE(testing::Message() << tiles << " tiles of " << pixels << " pixels");
      const int64_t group = spectra_per_block(tiles, pixels), groups = divide_up(pixels, group);
      EXPECT_GE(group, 1);
      EXPECT_TRUE(groups == 1 || tiles * groups <= most_partial_results);
      EXPECT_LE(tiles * groups, largest_grid);
    }
}

TEST(CudaGeometry, MatrixTilesAreAllTakenOnce) {
  for (auto [rows, columns] : {std::pair<int64_t, int64_t>{100, 700}, {700, 100}, {1, 1}, {64, 129}}) {
    const MatrixTiling tiling(rows, columns, 64, 128);
    std::set<std::pair<int64_t, int64_t>> places;
    for (int64_t block = 0; block < tiling.blocks(); ++block) {
      const auto place = tiling.place(block);
      EXPECT_LT(place.row_tile * 64, rows);
      EXPECT_LT(place.column_tile * 128, columns);
      places.insert({place.row_tile, place.column_tile});
    }
    EXPECT_EQ(static_cast<int64_t>(places.size()), tiling.blocks());
  }
  // The published layers are small against this one, of 2^36 weights.
  const MatrixTiling large(int64_t{1} << 24, 4096, 8, 1024);
  EXPECT_LE(large.blocks(), largest_grid);
  const auto last = large.place(large.blocks() - 1);
  EXPECT_EQ(last.row_tile, (int64_t{1} << 21) - 1);
  EXPECT_EQ(last.column_tile, 3);
}

TEST(CudaGeometry, SpectraAreCutIntoPieces) {
  for (int64_t rows : {int64_t{1}, int64_t{576}, int64_t{65536} * 64, two_to_31})
    for (int64_t length : {1, 255, 256, 257, 656, 4096}) {
      SCOPED_TRACE(testing::Message() << rows << " spectra of " << length);
      const SpectrumSplit s(rows, length, 256);
      EXPECT_LE(s.piece, 256);
      EXPECT_GE(s.piece * s.pieces, length);
      EXPECT_EQ(s.items, rows * s.pieces);
      EXPECT_LE(s.blocks(2048), 2048);
    }
}

}  // namespace
}  // namespace eelsvae::emulated
