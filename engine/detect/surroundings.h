#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace eelsvae {

// A map (y, x) split into what its surroundings foretell and what is a pixel's own.
struct Foretold {
  std::vector<float> value;   // what the surroundings make of the pixel
  std::vector<float> spread;  // standard deviation of (map - value) around the pixel
};

// Foretells each pixel from the others in the square of `side` pixels around it, as far as the image goes:
// their median, to which the median of what is left over in the same scan line within 12 pixels is added,
// because drift and stripes belong to a line. A pixel that departs from that, but has its like in a fifth of
// the square and in three of the eight pixels next to it, lies at a border between materials: its like
// foretell it. The pixel itself takes no part, nor do excluded ones (nonzero), and up to half of the others
// may be anomalous as long as they are scattered. The spread is the 68.3 % quantile of |map - value| in the
// same square. Both are 0 where a pixel is excluded or has no neighbour.
Foretold foretell(std::span<const float> map, int64_t height, int64_t width, int64_t side,
                  std::span<const uint8_t> excluded);

// The same for a map whose rows become known one after the other, from the first on; row by row, with the
// same bits. Rows count from the first that is kept.
class Surroundings {
 public:
  Surroundings(int64_t height, int64_t width, int64_t side);

  // So many rows after a row still change what is foretold there.
  int64_t reach() const { return 3 * half_; }
  // Makes rows [first, last) of foretold() as if the image ended after `there` rows of the map. Of these the
  // first `settled` will stay as they are, map and mask; what follows from them alone is kept and not
  // calculated again. Rows are asked for in ascending order, or again.
  void foretell_rows(std::span<const float> map, std::span<const uint8_t> excluded, int64_t first,
                     int64_t last, int64_t there, int64_t settled);
  // So many rows more are no longer kept; of the map, neither. Those that are still asked for lie reach() or
  // more rows below the first one that is kept, unless that is the map's first.
  void forget_rows(int64_t count);
  const Foretold& foretold() const { return foretold_; }
  Foretold take() { return std::move(foretold_); }

 private:
  // Each is made of the rows of the one before within half_ of its own, but the third, of the map's and its
  // own.
  enum Stage { median, first_spread, value, spread, stages };

  std::array<std::vector<float>*, 4> maps() {
    return {&median_, &first_spread_, &foretold_.value, &foretold_.spread};
  }

  int64_t height_, width_, half_;  // the first: from the first row that is kept on
  std::vector<float> median_, first_spread_;
  std::vector<uint8_t> at_border_;  // (rows): whether a pixel is foretold by its like
  Foretold foretold_;
  int64_t done_[stages] = {};  // rows that stay as they are
};

}  // namespace eelsvae
