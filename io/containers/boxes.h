#pragma once

// Internal to io/: going through an array box by box.

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "io/files/message_text.h"

namespace eelsvae {

// A part of an array, along the array's axes.
struct Box {
  std::vector<int64_t> start, size;
};

// "the chunk of the data that begins at (0, 3, 256)", for messages.
inline std::string chunk_text(const Box& box) {
  return "the chunk of the data that begins at " + shape_text(box.start);
}

// An array cut into boxes of one shape; those at the far edges may be smaller. No size is 0.
class Grid {
 public:
  Grid(std::vector<int64_t> shape, std::vector<int64_t> box)
      : shape_(std::move(shape)), box_(std::move(box)) {
    for (size_t d = 0; d < shape_.size(); ++d) {
      counts_.push_back(shape_[d] / box_[d] + (shape_[d] % box_[d] != 0));
      total_ *= counts_.back();
    }
  }

  int64_t total() const { return total_; }

  // In C order.
  Box operator[](int64_t index) const {
    Box box{std::vector<int64_t>(shape_.size()), std::vector<int64_t>(shape_.size())};
    for (size_t d = shape_.size(); d-- > 0; index /= counts_[d]) {
      box.start[d] = index % counts_[d] * box_[d];
      box.size[d] = std::min(box_[d], shape_[d] - box.start[d]);
    }
    return box;
  }

 private:
  std::vector<int64_t> shape_, box_, counts_;
  int64_t total_ = 1;
};

}  // namespace eelsvae
