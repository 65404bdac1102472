#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace eelsvae {

// Pixels that a network with a latent vector for each cell is not shown, and is asked for: squares of `side`
// pixels in every second row and every second column of such squares, a quarter of all. What such a network
// sees it could copy, an atom in the wrong place too; what it does not see it can only tell from around.
struct BlindBlocks {
  int64_t side = 1, y = 0, x = 0;  // the squares lie y and x pixels further up and left

  bool hides(int64_t row, int64_t column) const {
    return (row + y) / side % 2 == 0 && (column + x) / side % 2 == 0;
  }
  // The share of the pixels of a square image of this side.
  double share_of(int64_t image) const {
    int64_t hidden = 0;
    for (int64_t pixel = 0; pixel < image * image; ++pixel) hidden += hides(pixel / image, pixel % image);
    return static_cast<double>(hidden) / static_cast<double>(image * image);
  }
  // Sets the spectra of a (height, width, channels) cube to zero that are hidden, or all others.
  void clear(std::span<float> cube, int64_t width, int64_t channels, bool hidden) const {
    const int64_t pixels = std::ssize(cube) / channels;
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
      if (hides(pixel / width, pixel % width) == hidden)
        std::fill_n(cube.begin() + pixel * channels, channels, 0.0f);
  }
  static constexpr double share = 0.25;  // of a large image
};

// Four passes hide every pixel once; sixteen, half a square apart, four times.
inline std::vector<BlindBlocks> blind_passes(int64_t side, int64_t passes) {
  std::vector<int64_t> offsets = {0, side};
  if (passes == 16) offsets = {0, side / 2, side, side + side / 2};
  std::vector<BlindBlocks> list;
  for (const int64_t y : offsets)
    for (const int64_t x : offsets) list.push_back({side, y, x});
  return list;
}

}  // namespace eelsvae
