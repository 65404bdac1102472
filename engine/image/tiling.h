#pragma once

#include <cstdint>
#include <vector>

#include "engine/config.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

// Where tiles begin along an axis: 0, stride, 2 stride, ..., and the last one anchored at the far edge, so
// that every pixel is in a tile. UserError if the axis is shorter than a tile, or the stride is not between 1
// and the tile (a longer one would leave gaps).
std::vector<int64_t> tile_starts(int64_t size, int64_t tile, int64_t stride);

struct TileOrigin {
  int64_t y = 0, x = 0;
  bool operator==(const TileOrigin&) const = default;
};

// Square tiles over an image, counted row by row. 192 x 192 pixels in tiles and strides of 24 are the 64
// published training tiles.
struct TileGrid {
  int64_t tile = 0;
  int64_t rows = 0, columns = 0;
  std::vector<TileOrigin> origins;  // rows * columns

  int64_t size() const { return static_cast<int64_t>(origins.size()); }
  int64_t index(int64_t row, int64_t column) const { return row * columns + column; }
};
TileGrid make_tile_grid(int64_t height, int64_t width, int64_t tile, int64_t stride);

// The eight symmetries of a square. Bit 0 mirrors x, bit 1 mirrors y, bit 2 then exchanges y and x;
// 0 is the identity.
constexpr int orientation_count = 8;

// Whether the tile at origin holds no pixel but excluded ones.
bool all_excluded(const SpectrumImageView& image, TileOrigin origin, int64_t tile);

// Copies the tile at origin into out (tile, tile, E), turned into the orientation.
void copy_tile(const SpectrumImageView& image, TileOrigin origin, int64_t tile, int orientation, float* out);

// A tile's weight along one axis: 1, or the raised cosine sin^2(pi (i + 1/2) / tile), which is never zero.
std::vector<float> blend_window(Blend blend, int64_t tile);

// An image put together from overlapping tiles: every pixel the mean of the tiles that cover it, weighted by
// the window along y times the window along x.
class BlendedCube {
 public:
  BlendedCube(int64_t height, int64_t width, int64_t energy, int64_t tile, Blend blend);

  // values: (tile, tile, E).
  void add(TileOrigin origin, const float* values);

  // The cube (y, x, E); the object is spent. std::logic_error if a pixel was in no tile.
  CountArray take();
  // Its first rows, to which no tile will come any more. The others move up, to make place for as many empty
  // ones at the end. std::logic_error as above.
  CountArray take_rows(int64_t rows);

 private:
  // Divides the first rows' sums by their weights.
  void divide(int64_t rows);

  int64_t height_, width_, energy_, tile_;
  std::vector<float> window_;
  CountArray sum_;              // (y, x, E), weighted; its memory begins as zeros
  std::vector<double> weight_;  // (y, x)
};

}  // namespace eelsvae
