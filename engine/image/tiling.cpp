#include "engine/image/tiling.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/error.h"

namespace eelsvae {

std::vector<int64_t> tile_starts(int64_t size, int64_t tile, int64_t stride) {
  expect(tile > 0, "tiles of no size");
  if (size < tile)
    throw UserError("the image has " + std::to_string(size) + " pixels along one axis and a tile needs " +
                    std::to_string(tile) + "; lower tiles.image_size");
  if (stride < 1 || stride > tile)
    throw UserError("a stride of " + std::to_string(stride) +
                    " pixels does not cover the image with tiles of " + std::to_string(tile) +
                    "; it must lie between 1 and " + std::to_string(tile));
  std::vector<int64_t> starts;
  for (int64_t start = 0; start + tile < size; start += stride) starts.push_back(start);
  starts.push_back(size - tile);
  return starts;
}

TileGrid make_tile_grid(int64_t height, int64_t width, int64_t tile, int64_t stride) {
  if (std::min(height, width) < tile)
    throw UserError(
        "the image, " + std::to_string(height) + " x " + std::to_string(width) +
        " pixels, is smaller than a tile, " + std::to_string(tile) + " x " + std::to_string(tile) +
        (std::min(height, width) < 4 ? "; a network needs 4 x 4 pixels, a baseline (mean, pca, rx) does not"
                                     : "; lower tiles.image_size"));
  std::vector<int64_t> ys = tile_starts(height, tile, stride), xs = tile_starts(width, tile, stride);
  TileGrid grid{tile, static_cast<int64_t>(ys.size()), static_cast<int64_t>(xs.size()), {}};
  for (int64_t y : ys)
    for (int64_t x : xs) grid.origins.push_back({y, x});
  return grid;
}

bool all_excluded(const SpectrumImageView& image, TileOrigin origin, int64_t tile) {
  if (image.excluded.empty()) return false;
  for (int64_t y = origin.y; y < origin.y + tile; ++y) {
    const auto row = image.excluded.begin() + y * image.x.size + origin.x;
    if (std::find(row, row + tile, uint8_t{0}) != row + tile) return false;
  }
  return true;
}

void copy_tile(const SpectrumImageView& image, TileOrigin origin, int64_t tile, int orientation, float* out) {
  expect(origin.y >= 0 && origin.y + tile <= image.y.size && origin.x >= 0 && origin.x + tile <= image.x.size,
         "tile outside the image");
  expect(orientation >= 0 && orientation < orientation_count, "unknown orientation");
  const bool mirror_x = orientation & 1, mirror_y = orientation & 2, exchange = orientation & 4;
  const int64_t energy = image.energy.size;
  for (int64_t i = 0; i < tile; ++i) {
    for (int64_t j = 0; j < tile; ++j) {
      int64_t y = exchange ? j : i, x = exchange ? i : j;
      if (mirror_y) y = tile - 1 - y;
      if (mirror_x) x = tile - 1 - x;
      const float* source = image.spectrum((origin.y + y) * image.x.size + origin.x + x);
      std::copy_n(source, energy, out + (i * tile + j) * energy);
    }
  }
}

std::vector<float> blend_window(Blend blend, int64_t tile) {
  std::vector<float> window(static_cast<size_t>(tile), 1.0f);
  if (blend == Blend::uniform) return window;
  constexpr double pi = 3.14159265358979323846;
  for (int64_t i = 0; i < tile; ++i) {
    double wave = std::sin(pi * (static_cast<double>(i) + 0.5) / static_cast<double>(tile));
    window[static_cast<size_t>(i)] = static_cast<float>(wave * wave);
  }
  return window;
}

BlendedCube::BlendedCube(int64_t height, int64_t width, int64_t energy, int64_t tile, Blend blend)
    : height_(height),
      width_(width),
      energy_(energy),
      tile_(tile),
      window_(blend_window(blend, tile)),
      sum_(static_cast<size_t>(height * width * energy)),
      weight_(static_cast<size_t>(height * width)) {}

void BlendedCube::add(TileOrigin origin, const float* values) {
  expect(origin.y >= 0 && origin.y + tile_ <= height_ && origin.x >= 0 && origin.x + tile_ <= width_,
         "tile outside the cube");
  // Starting threads costs more than a small tile.
#pragma omp parallel for schedule(static) if (tile_ * tile_ * energy_ > 100000)
  for (int64_t i = 0; i < tile_; ++i) {
    for (int64_t j = 0; j < tile_; ++j) {
      const int64_t pixel = (origin.y + i) * width_ + origin.x + j;
      const float weight = window_[static_cast<size_t>(i)] * window_[static_cast<size_t>(j)];
      const float* in = values + (i * tile_ + j) * energy_;
      float* out = sum_.data() + pixel * energy_;
#pragma omp simd
      for (int64_t e = 0; e < energy_; ++e) out[e] += weight * in[e];
      weight_[static_cast<size_t>(pixel)] += static_cast<double>(weight);
    }
  }
}

void BlendedCube::divide(int64_t rows) {
  const int64_t pixels = rows * width_;
  expect(std::all_of(weight_.begin(), weight_.begin() + pixels, [](double weight) { return weight > 0; }),
         "a pixel is covered by no tile");
#pragma omp parallel for schedule(static)
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    const auto factor = static_cast<float>(1 / weight_[static_cast<size_t>(pixel)]);
    float* out = sum_.data() + pixel * energy_;
#pragma omp simd
    for (int64_t e = 0; e < energy_; ++e) out[e] *= factor;
  }
}

CountArray BlendedCube::take() {
  divide(height_);
  return std::move(sum_);
}

CountArray BlendedCube::take_rows(int64_t rows) {
  divide(rows);
  const auto end = sum_.begin() + rows * width_ * energy_;
  CountArray taken(sum_.begin(), end);
  std::fill(std::move(end, sum_.end(), sum_.begin()), sum_.end(), 0.0f);
  std::fill(std::move(weight_.begin() + rows * width_, weight_.end(), weight_.begin()), weight_.end(), 0.0);
  return taken;
}

}  // namespace eelsvae
