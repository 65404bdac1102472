#include "engine/live/row_expectation.h"

#include <algorithm>

namespace eelsvae {

Expectation BaselineRows::expected(const SpectrumImageView& rows, int64_t last) {
  CountArray counts(held_.begin(), held_.end());
  counts.insert(counts.end(), rows.counts.begin(), rows.counts.end());
  std::vector<uint8_t> mask = held_mask_;
  mask.insert(mask.end(), rows.excluded.begin(), rows.excluded.end());
  Axis y = rows.y;
  y.size += there_ - first_;
  const SpectrumImageView all(y, rows.x, rows.energy, counts, mask);
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
  held_.insert(held_.end(), rows.counts.begin(), rows.counts.end());
  held_mask_.insert(held_mask_.end(), rows.excluded.begin(), rows.excluded.end());
  there_ = there;
  told_ = last;
  const int64_t width = rows.x.size, needed = std::max(first_, last - reach()), gone = needed - first_;
  held_.erase(held_.begin(), held_.begin() + gone * width * rows.energy.size);
  held_mask_.erase(held_mask_.begin(), held_mask_.begin() + gone * width);
  first_ = needed;
  return expectation;
}

Expectation BaselineRows::guess(const SpectrumImageView& rows) {
  return expected(rows, there_ + rows.y.size);
}

}  // namespace eelsvae
