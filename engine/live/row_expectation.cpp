#include "engine/live/row_expectation.h"

#include <algorithm>

namespace eelsvae {

void BaselineRows::hold(const SpectrumImageView& rows) {
  if (!held_) held_.emplace(rows.x.size * rows.energy.size);
  held_->append(rows.counts);
  held_mask_.insert(held_mask_.end(), rows.excluded.begin(), rows.excluded.end());
}

Expectation BaselineRows::expected(const SpectrumImageView& rows, int64_t last) {
  Axis y = rows.y;
  y.size = held_->last() - first_;
  const SpectrumImageView all(y, rows.x, rows.energy, held_->rows(first_, held_->last()), held_mask_);
  Expectation expectation;
  expectation.spectra = baseline_.expected_rows(all, told_ - first_, last - first_);
  if (baseline_.spec().kind == BaselineSpec::Kind::rx)
    expectation.own_scores = baseline_.own_scores(all.rows(told_ - first_, last - first_)).value();
  expectation.is_projection = baseline_.components() > 0;
  return expectation;
}

Expectation BaselineRows::add(const SpectrumImageView& rows) {
  hold(rows);
  const int64_t there = held_->last(), last = there == height_ ? there : std::max(told_, there - reach());
  Expectation expectation = expected(rows, last);
  // Rows from here on are needed for the next ones: of a baseline that looks at single spectra none.
  const int64_t needed = std::clamp(last - reach(), first_, there);
  held_->drop_before(needed);
  held_mask_.erase(held_mask_.begin(), held_mask_.begin() + (needed - first_) * rows.x.size);
  first_ = needed;
  told_ = last;
  return expectation;
}

Expectation BaselineRows::guess(const SpectrumImageView& rows) {
  const int64_t there = held_ ? held_->last() : 0;
  hold(rows);
  Expectation expectation = expected(rows, held_->last());
  held_->drop_from(there);
  held_mask_.resize(static_cast<size_t>((there - first_) * rows.x.size));
  return expectation;
}

}  // namespace eelsvae
