#pragma once

// Internal to io/: going through a dataset box by box.

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "io/containers/hdf5_library.h"
#include "io/files/message_text.h"

namespace eelsvae::hdf5 {

// A part of a dataset, along the dataset's axes.
struct Box {
  std::vector<hsize_t> start, size;
};

// "the chunk of the data that begins at (0, 3, 256)", for messages.
inline std::string chunk_text(const Box& box) {
  return "the chunk of the data that begins at " + shape_text({box.start.begin(), box.start.end()});
}

// A dataset cut into boxes of one shape; those at the far edges may be smaller. No size is 0.
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
    Box box{std::vector<hsize_t>(shape_.size()), std::vector<hsize_t>(shape_.size())};
    for (size_t d = shape_.size(); d-- > 0; index /= counts_[d]) {
      const int64_t start = index % counts_[d] * box_[d];
      box.start[d] = static_cast<hsize_t>(start);
      box.size[d] = static_cast<hsize_t>(std::min(box_[d], shape_[d] - start));
    }
    return box;
  }

 private:
  std::vector<int64_t> shape_, box_, counts_;
  int64_t total_ = 1;
};

}  // namespace eelsvae::hdf5
