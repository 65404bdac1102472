#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace eelsvae {

// Some rows, one after the other, of an array (y, values of a row).
class RowBand {
 public:
  explicit RowBand(int64_t row_size) : row_size_(row_size) {}

  int64_t row_size() const { return row_size_; }  // values
  bool empty() const { return std::ssize(values_) == dropped_; }
  int64_t last() const { return first_ + (std::ssize(values_) - dropped_) / row_size_; }
  // Rows [from, to), which are there.
  std::span<const float> rows(int64_t from, int64_t to) const {
    return std::span(values_).subspan(static_cast<size_t>(dropped_ + (from - first_) * row_size_),
                                      static_cast<size_t>((to - from) * row_size_));
  }
  void append(std::span<const float> more) { values_.insert(values_.end(), more.begin(), more.end()); }
  // Rows from y on are not there yet after all.
  void drop_from(int64_t y) {
    if (y < last()) values_.resize(static_cast<size_t>(dropped_ + (y - first_) * row_size_));
  }
  // Such rows are no longer needed. What is left moves up when it is less than what is gone.
  void drop_before(int64_t y) {
    if (y <= first_) return;
    dropped_ += (y - first_) * row_size_;
    first_ = y;
    if (2 * dropped_ < std::ssize(values_)) return;
    values_.erase(values_.begin(), values_.begin() + dropped_);
    dropped_ = 0;
  }

 private:
  int64_t row_size_;
  int64_t first_ = 0, dropped_ = 0;  // the first row that is there; values before it
  std::vector<float> values_;
};

}  // namespace eelsvae
