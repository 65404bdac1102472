#include "engine/live/row_expectation.h"

#include <algorithm>

namespace eelsvae {

void BaselineRows::expect(const SpectrumImageView& rows, int64_t first, int64_t last,
                          Expectation& known) const {
  baseline_.expected_rows(rows, told_ - first, last - first, known.spectra);
  if (baseline_.spec().kind == BaselineSpec::Kind::rx)
    known.own_scores = baseline_.own_scores(rows.rows(told_ - first, last - first)).value();
  known.is_projection = baseline_.components() > 0;
}

void BaselineRows::add(const SpectrumImageView& rows, int64_t first, Expectation& known) {
  const int64_t there = first + rows.y.size,
                last = there == height_ ? there : std::max(told_, there - reach());
  expect(rows, first, last, known);
  told_ = last;
}

void BaselineRows::guess(const SpectrumImageView& rows, int64_t first, Expectation& known) {
  expect(rows, first, first + rows.y.size, known);
}

}  // namespace eelsvae
