#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace eelsvae {

// A convolution along one scan axis.
struct AxisWindow {
  int64_t kernel = 1, stride = 1, padding = 0;
};

// What tiles that overlap along one scan axis have in common after each of several convolutions. A line of
// activations depends on those lines of the input that its taps see inside the tile; outside there are zeros.
// So two tiles have a line in common where their taps see the same lines, and zeros at the same taps.
struct SharedLines {
  // For each convolution (lines, kernel): the line of its input that each tap of a line of its output sees;
  // -1: zeros. The first one's input are the image's lines from the first tile's start on.
  std::vector<std::vector<int64_t>> sources;
  std::vector<int64_t> counts;  // lines: of the image, then of each convolution's output
  // (tiles, lines of a tile): which of the last convolution's lines are a tile's.
  std::vector<int64_t> of_tiles;

  int64_t tiles = 0;

  int64_t tile_lines() const { return std::ssize(of_tiles) / tiles; }
};

// starts: where the tiles begin, ascending and without gaps between tiles.
SharedLines share_lines(std::span<const int64_t> starts, int64_t tile,
                        std::span<const AxisWindow> convolutions);

}  // namespace eelsvae
