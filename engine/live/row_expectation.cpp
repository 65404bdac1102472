#include "engine/live/row_expectation.h"

#include <algorithm>

namespace eelsvae {

Expectation BaselineRows::expected(const SpectrumImageView& rows, int64_t last) {
  CountArray counts;
  std::vector<uint8_t> mask;
  SpectrumImageView all = rows;
  if (there_ > first_) {
    counts = held_;
    counts.insert(counts.end(), rows.counts.begin(), rows.counts.end());
    mask = held_mask_;
    mask.insert(mask.end(), rows.excluded.begin(), rows.excluded.end());
    Axis y = rows.y;
    y.size += there_ - first_;
    all = SpectrumImageView(y, rows.x, rows.energy, counts, mask);
  }
  Expectation expectation;
  expectation.spectra = baseline_.expected_rows(all, told_ - first_, last - first_);
  if (baseline_.spec().kind == BaselineSpec::Kind::rx)
    expectation.own_scores = baseline_.own_scores(all.rows(told_ - first_, last - first_)).value();
  expectation.is_projection = baseline_.components() > 0;
  return expectation;
}

Expectation BaselineRows::add(const SpectrumImageView& rows) {
  const int64_t there = there_ + rows.y.size,
                last = there == height_ ? there : std::max(told_, there - reach());
  Expectation expectation = expected(rows, last);
  // Rows from here on are needed for the next ones: of a baseline that looks at single spectra none.
  const int64_t needed = std::min(std::max(first_, last - reach()), there), width = rows.x.size;
  const auto keep = [&](auto& held, const auto& added, int64_t row_size) {
    held.erase(held.begin(), held.begin() + (std::min(needed, there_) - first_) * row_size);
    held.insert(held.end(), added.begin() + (std::max(needed, there_) - there_) * row_size, added.end());
  };
  keep(held_, rows.counts, width * rows.energy.size);
  keep(held_mask_, rows.excluded, width);
  first_ = needed;
  there_ = there;
  told_ = last;
  return expectation;
}

Expectation BaselineRows::guess(const SpectrumImageView& rows) {
  return expected(rows, there_ + rows.y.size);
}

}  // namespace eelsvae
