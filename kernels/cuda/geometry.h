#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "kernels/cuda/launch.h"
#include "kernels/host_device.h"

// How operations are split over blocks. All of it depends on sizes alone, so that sums are the same on every
// device.
namespace eelsvae::EELSVAE_GPU {

// Partial results in double that fit the backend's memory for them.
constexpr int64_t most_partial_results = int64_t{1} << 20;

// Blocks of an element-wise kernel whose threads take `packs` packs of `width` elements each.
constexpr int64_t elementwise_blocks(int64_t count, int threads, int packs, int width) {
  return grid_for(count, int64_t{threads} * packs * width);
}

// The sum of (rows, channels) over rows. `merged` rows are seen as one of `width` = merged * channels values,
// a multiple of the pack; the rows left over come at the end. A block takes `columns` packs of the width (its
// threads make `lanes` rows of them) and one of `pieces` stretches of merged rows.
struct ColumnSumSplit {
  int64_t merged, width, groups, left_over;
  int64_t columns, lanes, column_blocks, pieces, piece_groups;

  ColumnSumSplit(int64_t rows, int64_t channels, int pack, int threads)
      : merged(pack / std::gcd(channels, int64_t{pack})),
        width(merged * channels),
        groups(rows / merged),
        left_over(rows % merged),
        columns(std::min<int64_t>(width / pack, threads)),
        lanes(threads / columns),
        column_blocks(divide_up(width / pack, columns)) {
    const int64_t most = std::min(std::max<int64_t>(1, 1024 / column_blocks),
                                  std::max<int64_t>(1, most_partial_results / width));
    pieces = std::clamp<int64_t>(divide_up(groups, lanes * 8), 1, most);
    piece_groups = std::max<int64_t>(1, divide_up(groups, pieces));
    pieces = std::max<int64_t>(1, divide_up(groups, piece_groups));
  }
  // Whether a block has whole sums already.
  bool direct() const { return pieces == 1 && merged == 1; }
  int64_t blocks() const { return column_blocks * pieces; }
};

// Gram matrices of (batch, length) in tiles of `tile` rows by as many: the lower triangle of tiles. A block
// takes one tile and one of `pieces` stretches of the length.
struct GramSplit {
  int64_t tile, tile_rows, tiles, entries, most_pieces;

  explicit GramSplit(int64_t batch)
      : tile(batch <= 1    ? 1
             : batch <= 2  ? 2
             : batch <= 4  ? 4
             : batch <= 8  ? 8
             : batch <= 16 ? 16
             : batch <= 32 ? 32
                           : 64),
        tile_rows(divide_up(batch, tile)),
        tiles(tile_rows * (tile_rows + 1) / 2),
        entries(tiles * tile * tile),
        most_pieces(std::clamp<int64_t>(most_partial_results / entries, 1, 1024)) {}

  // Elements in a stretch, a multiple of 64, so that a stretch starts where its rows' alignment allows packs.
  int64_t piece_length(int64_t length) const {
    const int64_t pieces = std::clamp<int64_t>(divide_up(length, tile <= 8 ? 2048 : 512), 1, most_pieces);
    return divide_up(divide_up(length, pieces), 64) * 64;
  }
  int64_t pieces(int64_t length) const { return divide_up(length, piece_length(length)); }
};

// Spectra of a tile that one block takes one after the other, so that losses of blocks fit as partial
// results, or a block has a whole tile.
constexpr int64_t spectra_per_block(int64_t tiles, int64_t pixels) {
  constexpr int64_t most = most_partial_results / 2;  // the last block of a tile may have fewer
  if (tiles > most) return pixels;
  return std::clamp<int64_t>(divide_up(tiles * pixels, most), 1, pixels);
}

// A matrix (rows, columns) in tiles, one for each block. Blocks that run side by side share the factor of
// the longer side, of which a piece then stays in the cache.
struct MatrixTiling {
  int64_t row_tiles, column_tiles;

  MatrixTiling(int64_t rows, int64_t columns, int64_t tile_rows, int64_t tile_columns)
      : row_tiles(divide_up(rows, tile_rows)), column_tiles(divide_up(columns, tile_columns)) {}
  int64_t blocks() const { return row_tiles * column_tiles; }

  struct Place {
    int64_t row_tile, column_tile;
  };
  EELSVAE_HOST_DEVICE Place place(int64_t block) const {
    if (row_tiles <= column_tiles) return {block % row_tiles, block / row_tiles};
    return {block / column_tiles, block % column_tiles};
  }
};

// `rows` spectra of `length` positions in pieces of about the same length, at most `longest`; blocks take
// pieces one after the other.
struct SpectrumSplit {
  int64_t length, pieces, piece, items;

  SpectrumSplit(int64_t rows, int64_t length_, int64_t longest)
      : length(length_),
        pieces(divide_up(length, longest)),
        piece(divide_up(length, pieces)),
        items(rows * pieces) {}
  int64_t blocks(int64_t most) const { return grid_for(items, 1, most); }
};

}  // namespace eelsvae::EELSVAE_GPU
