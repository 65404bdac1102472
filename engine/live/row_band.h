#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// Some rows, one after the other, of an array (y, values of a row). Takes memory for half as many rows again
// as it has held at once.
class RowBand {
 public:
  explicit RowBand(int64_t row_size) : row_size_(row_size) {}

  int64_t row_size() const { return row_size_; }  // values
  bool empty() const { return begin_ == end_; }
  int64_t last() const { return first_ + (end_ - begin_) / row_size_; }
  // Rows [from, to), which are there.
  std::span<const float> rows(int64_t from, int64_t to) const {
    return std::span(values_).subspan(static_cast<size_t>(begin_ + (from - first_) * row_size_),
                                      static_cast<size_t>((to - from) * row_size_));
  }
  void append(std::span<const float> more) {
    make_room(std::ssize(more));
    std::ranges::copy(more, values_.begin() + end_);
    end_ += std::ssize(more);
  }
  // Rows from y on are not there yet after all.
  void drop_from(int64_t y) {
    if (y < last()) end_ = begin_ + (y - first_) * row_size_;
  }
  // Such rows are no longer needed.
  void drop_before(int64_t y) {
    if (y <= first_) return;
    begin_ += (y - first_) * row_size_;
    first_ = y;
  }

 private:
  // Behind those that are there, which move up where there is none.
  void make_room(int64_t more) {
    const int64_t held = end_ - begin_, wanted = held + more;
    if (end_ + more <= std::ssize(values_)) return;
    if (wanted + wanted / 2 > std::ssize(values_)) {
      CountArray larger;
      larger.resize(static_cast<size_t>(wanted + wanted / 2));
      std::copy(values_.begin() + begin_, values_.begin() + end_, larger.begin());
      values_ = std::move(larger);
    } else {
      std::copy(values_.begin() + begin_, values_.begin() + end_, values_.begin());
    }
    begin_ = 0;
    end_ = held;
  }

  int64_t row_size_;
  int64_t first_ = 0;            // the first row that is there
  int64_t begin_ = 0, end_ = 0;  // of their values
  CountArray values_;
};

}  // namespace eelsvae
