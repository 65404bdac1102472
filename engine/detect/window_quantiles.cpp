#include "engine/detect/window_quantiles.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "engine/first_failure.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

// Pixels of a map that are worked on together, without what their rectangles reach.
constexpr int64_t tile_height = 8, tile_width = 256;
constexpr size_t lanes = 32;  // pixels that are next to each other in a line, whose sums fill registers

// The values of a tile and around it, as their ranks among each other: a value in a rectangle is then found
// by its bits, the highest first, and how many in the rectangle are below a rank is counted for many
// rectangles at once.
template <class Rank>
class Ranks {
 public:
  static constexpr Rank none = std::numeric_limits<Rank>::max();  // of what does not take part

  // Rows [top, bottom) and columns [left, right), which may lie beyond the map.
  Ranks(const MapRows& map, int64_t top, int64_t bottom, int64_t left, int64_t right)
      : pitch_(right - left + static_cast<int64_t>(lanes)),
        ranks_(static_cast<size_t>((bottom - top) * pitch_), none) {
    struct Value {
      float value;
      size_t at;
    };
    std::vector<Value> order;
    for (int64_t y = std::max<int64_t>(top, 0); y < std::min(bottom, map.height); ++y)
      for (int64_t x = std::max<int64_t>(left, 0); x < std::min(right, map.width); ++x) {
        const auto pixel = static_cast<size_t>(y * map.width + x);
        if (map.excluded.empty() || !map.excluded[pixel])
          // One zero: which of both was first would depend on the rest of the tile.
          order.push_back({map.values[pixel] + 0.0f, static_cast<size_t>((y - top) * pitch_ + x - left)});
      }
    std::ranges::sort(order, {}, &Value::value);
    for (size_t rank = 0; rank < order.size(); ++rank) {
      ranks_[order[rank].at] = static_cast<Rank>(rank);
      values_.push_back(order[rank].value);
    }
  }

  // The quantiles of `count` pixels, at most `lanes`, the first of which is that of row and column (from the
  // corner).
  void quantiles(int64_t row, int64_t column, size_t count, int64_t reach_y, int64_t reach_x, double share,
                 float* out) const {
    using Lanes = std::array<Rank, lanes>;
    const Rank* own = ranks_.data() + row * pitch_ + column;
    const auto others_below = [&](const Lanes& rank) {
      Lanes sum{};
      for (int64_t j = -reach_y; j <= reach_y; ++j)
        for (int64_t i = -reach_x; i <= reach_x; ++i) {
          const Rank* other = own + j * pitch_ + i;
          for (size_t l = 0; l < lanes; ++l) sum[l] = static_cast<Rank>(sum[l] + (other[l] < rank[l]));
        }
      for (size_t l = 0; l < lanes; ++l) sum[l] = static_cast<Rank>(sum[l] - (own[l] < rank[l]));
      return sum;
    };
    Lanes all, found{}, wanted{};
    all.fill(static_cast<Rank>(values_.size()));
    const Lanes others = others_below(all);
    for (size_t l = 0; l < count; ++l)
      wanted[l] = static_cast<Rank>(share * static_cast<double>(std::max(others[l] - 1, 0)) + 0.5);
    for (auto bit = static_cast<Rank>(std::bit_floor(values_.size())); bit > 0;
         bit = static_cast<Rank>(bit / 2)) {
      Lanes next;
      for (size_t l = 0; l < lanes; ++l) next[l] = static_cast<Rank>(found[l] | bit);
      const Lanes below = others_below(next);
      for (size_t l = 0; l < lanes; ++l) found[l] = below[l] <= wanted[l] ? next[l] : found[l];
    }
    for (size_t l = 0; l < count; ++l)
      out[l] = own[l] == none || others[l] == 0 ? 0.0f : values_[static_cast<size_t>(found[l])];
  }

 private:
  int64_t pitch_;
  std::vector<Rank> ranks_;    // (row, column), columns filled up with `none`
  std::vector<float> values_;  // (rank)
};

// Rows and columns of a map.
struct Tile {
  int64_t top, bottom, left, right;
};

template <class Rank>
void tile_quantiles(const MapRows& map, const Tile& tile, int64_t reach_y, int64_t reach_x, double share,
                    int64_t first, std::vector<float>& out) {
  const Ranks<Rank> ranks(map, tile.top - reach_y, tile.bottom + reach_y, tile.left - reach_x,
                          tile.right + reach_x);
  for (int64_t y = tile.top; y < tile.bottom; ++y)
    for (int64_t x = tile.left; x < tile.right; x += lanes)
      ranks.quantiles(y - tile.top + reach_y, x - tile.left + reach_x,
                      std::min(lanes, static_cast<size_t>(tile.right - x)), reach_y, reach_x, share,
                      out.data() + (y - first) * map.width + x);
}

}  // namespace

std::vector<float> window_quantiles(const MapRows& map, int64_t first, int64_t last, int64_t reach_y,
                                    int64_t reach_x, double share) {
  const auto pixels = static_cast<size_t>(map.height * map.width);
  expect(map.values.size() == pixels && (map.excluded.empty() || map.excluded.size() == pixels),
         "a map of its size");
  expect(0 <= first && first <= last && last <= map.height, "rows of the map");
  std::vector<float> out(static_cast<size_t>((last - first) * map.width));
  reach_y = std::min(reach_y, map.height);  // a rectangle may be larger than the map
  reach_x = std::min(reach_x, map.width);
  const int64_t most_ranks = (tile_height + 2 * reach_y) * (tile_width + 2 * reach_x);
  expect(most_ranks < std::numeric_limits<int32_t>::max(), "ranks that can be counted");
  FirstFailure failure;
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (int64_t top = first; top < last; top += tile_height)
    for (int64_t left = 0; left < map.width; left += tile_width) {
      const Tile tile{top, std::min(last, top + tile_height), left, std::min(map.width, left + tile_width)};
      failure.guard([&] {
        if (most_ranks < std::numeric_limits<int16_t>::max())
          tile_quantiles<int16_t>(map, tile, reach_y, reach_x, share, first, out);
        else
          tile_quantiles<int32_t>(map, tile, reach_y, reach_x, share, first, out);
      });
    }
  failure.rethrow();
  return out;
}

}  // namespace eelsvae
