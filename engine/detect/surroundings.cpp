#include "engine/detect/surroundings.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "engine/detect/window_quantiles.h"
#include "engine/first_failure.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr int64_t line_reach = 12;                    // pixels to either side
constexpr float departs_by = 3, alike_within = 1.5f;  // spreads
constexpr int64_t least_beside = 3;                   // of the eight next to it
constexpr double least_alike = 0.2;  // of the square: 16 of 80, more than a disc of two pixels' radius

// The value below which a share of the values lie; they are reordered. 0 of nothing.
float quantile(std::vector<float>& values, double share) {
  if (values.empty()) return 0;
  const auto at =
      values.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

float at(std::span<const float> values, int64_t pixel) {
  return values[static_cast<size_t>(pixel)];
}

// Rows of a map that ends after some.
struct Part {
  int64_t height, width;
  std::span<const uint8_t> excluded;

  bool counts(int64_t pixel) const { return excluded.empty() || !excluded[static_cast<size_t>(pixel)]; }
  // The pixels (j, i) of the rectangle around (y, x), without itself and without excluded ones.
  template <typename Use>
  void for_others(int64_t y, int64_t x, int64_t reach_y, int64_t reach_x, Use&& use) const {
    for (int64_t j = std::max<int64_t>(0, y - reach_y); j <= std::min(height - 1, y + reach_y); ++j)
      for (int64_t i = std::max<int64_t>(0, x - reach_x); i <= std::min(width - 1, x + reach_x); ++i)
        if ((j != y || i != x) && counts(j * width + i)) use(j, i);
  }
  // The pixels that count in rows [first, last).
  template <typename Use>
  void for_pixels(int64_t first, int64_t last, Use&& use) const {
    FirstFailure failure;
#pragma omp parallel for schedule(static)
    for (int64_t y = first; y < last; ++y)
      failure.guard([&] {
        for (int64_t x = 0; x < width; ++x)
          if (counts(y * width + x)) use(y, x);
      });
    failure.rethrow();
  }
  // For every pixel of some rows a quantile of `value` over the rectangle around it, without itself.
  template <typename Value>
  std::vector<float> around(int64_t first, int64_t last, int64_t reach_y, int64_t reach_x, double share,
                            const Value& value) const {
    const int64_t top = std::max<int64_t>(0, first - reach_y), bottom = std::min(height, last + reach_y),
                  before = top * width;
    std::vector<float> values(static_cast<size_t>((bottom - top) * width));
    for_pixels(top, bottom, [&](int64_t y, int64_t x) {
      values[static_cast<size_t>(y * width + x - before)] = value(y * width + x);
    });
    const auto mask =
        excluded.empty() ? excluded : excluded.subspan(static_cast<size_t>(before), values.size());
    return window_quantiles({bottom - top, width, values, mask}, first - top, last - top, reach_y, reach_x,
                            share);
  }
};

}  // namespace

Surroundings::Surroundings(int64_t height, int64_t width, int64_t side)
    : height_(height), width_(width), half_(side / 2) {
  expect(side >= 1 && side % 2 == 1, "the surroundings' side must be odd");
}

void Surroundings::foretell_rows(std::span<const float> map, std::span<const uint8_t> excluded, int64_t first,
                                 int64_t last, int64_t there, int64_t settled) {
  expect(0 <= first && first <= last && last <= there && there <= height_ && settled <= there &&
             there * width_ <= std::ssize(map),
         "rows that are not there");
  for (std::vector<float>* rows : maps())
    rows->resize(std::max(rows->size(), static_cast<size_t>(there * width_)));
  at_border_.resize(std::max(at_border_.size(), static_cast<size_t>(there)));
  const Part part{there, width_, excluded};
  // Rows of a stage that are still to be made: those that the rows asked for are made of.
  struct Missing {
    int64_t first, last;
  };
  const auto missing = [&](Stage stage) {
    const int64_t around = (stage == spread ? 0 : stage == median ? 2 : 1) * half_;
    return Missing{std::max(done_[stage], first - around), std::min(there, last + around)};
  };
  const auto keep = [&](Stage stage, Missing made) {
    const int64_t stays =
        settled == height_ ? height_ : settled - (stage == spread ? 3 : std::min(stage + 1, 2)) * half_;
    if (made.first <= done_[stage]) done_[stage] = std::max(done_[stage], std::min(made.last, stays));
  };

  // The square's median, and what of a line is left over.
  if (const Missing rows = missing(median); rows.first < rows.last) {
    const int64_t begin = rows.first * width_;
    const std::vector<float> square =
        part.around(rows.first, rows.last, half_, half_, 0.5, [&](int64_t p) { return at(map, p); });
    const std::vector<float> line = part.around(rows.first, rows.last, 0, line_reach, 0.5, [&](int64_t p) {
      return at(map, p) - at(square, p - begin);
    });
    std::ranges::transform(square, line, median_.begin() + begin, std::plus());
    keep(median, rows);
  }
  const auto spread_of = [&](Missing rows, const std::vector<float>& values, std::vector<float>& out) {
    const std::vector<float> made = part.around(rows.first, rows.last, half_, half_, 0.683, [&](int64_t p) {
      return std::abs(at(map, p) - at(values, p));
    });
    std::ranges::copy(made, out.begin() + rows.first * width_);
  };
  if (const Missing rows = missing(first_spread); rows.first < rows.last) {
    spread_of(rows, median_, first_spread_);
    keep(first_spread, rows);
  }
  // At a border the median is that of the side which fills more of the square.
  if (const Missing rows = missing(value); rows.first < rows.last) {
    std::copy(median_.begin() + rows.first * width_, median_.begin() + rows.last * width_,
              foretold_.value.begin() + rows.first * width_);
    std::fill(at_border_.begin() + rows.first, at_border_.begin() + rows.last, uint8_t{0});
    part.for_pixels(rows.first, rows.last, [&](int64_t y, int64_t x) {
      const int64_t pixel = y * width_ + x;
      const float own = at(map, pixel), unit = at(first_spread_, pixel);
      if (std::abs(own - at(median_, pixel)) <= departs_by * unit) return;
      std::vector<float> alike;
      int64_t others = 0, beside = 0;
      part.for_others(y, x, half_, half_, [&](int64_t j, int64_t i) {
        ++others;
        const float other = at(map, j * width_ + i);
        if (std::abs(other - own) > alike_within * unit) return;
        alike.push_back(other);
        beside += std::abs(j - y) <= 1 && std::abs(i - x) <= 1;
      });
      if (beside < least_beside ||
          static_cast<double>(alike.size()) < least_alike * static_cast<double>(others))
        return;
      foretold_.value[static_cast<size_t>(pixel)] = quantile(alike, 0.5);
      at_border_[static_cast<size_t>(y)] = uint8_t{1};
    });
    keep(value, rows);
  }
  // Where no border is near, the spread is what it was.
  if (const Missing rows = missing(spread); rows.first < rows.last) {
    for (int64_t y = rows.first; y < rows.last; ++y) {
      const auto begin = at_border_.begin() + std::max<int64_t>(0, y - half_),
                 end = at_border_.begin() + std::min(there, y + half_ + 1);
      if (std::find(begin, end, uint8_t{1}) == end)
        std::copy_n(first_spread_.begin() + y * width_, width_, foretold_.spread.begin() + y * width_);
      else
        spread_of({y, y + 1}, foretold_.value, foretold_.spread);
    }
    keep(spread, rows);
  }
}

void Surroundings::forget_rows(int64_t count) {
  for (std::vector<float>* rows : maps()) rows->erase(rows->begin(), rows->begin() + count * width_);
  at_border_.erase(at_border_.begin(), at_border_.begin() + count);
  for (int64_t& done : done_) done = std::max<int64_t>(0, done - count);
  height_ -= count;
}

Foretold foretell(std::span<const float> map, int64_t height, int64_t width, int64_t side,
                  std::span<const uint8_t> excluded) {
  Surroundings surroundings(height, width, side);
  surroundings.foretell_rows(map, excluded, 0, height, height, height);
  return surroundings.take();
}

}  // namespace eelsvae
