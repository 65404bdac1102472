#pragma once

// Internal to io/: reading an array box by box, with all threads.

#include <omp.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/stop_token.h"
#include "io/containers/boxes.h"
#include "io/files/first_failure.h"
#include "io/files/stored_array.h"

namespace eelsvae {

// Where the numbers of an array go whose axis order[i] is the image's axis i: as ImageValues::read has it.
class BoxTarget {
 public:
  BoxTarget(std::span<const size_t> order, std::span<const int64_t> stride, float* out)
      : order_(order), stride_(stride), out_(out) {}

  // Places a box whose first number is `numbers` and whose axes are `stored.stride` bytes wide. Returns
  // whether all are finite.
  bool place(const Box& box, const StoredArray& stored, const std::byte* numbers) const {
    StoredArray array{stored.type, stored.big_endian, {}, {}};
    for (const size_t axis : order_) {
      array.shape.push_back(box.size[axis]);
      array.stride.push_back(stored.stride[axis]);
    }
    return convert_array(numbers, array, stride_, first(box));
  }

  // Returns whether the value is finite.
  bool fill(const Box& box, float value) const {
    fill(box, 0, first(box), value);
    return value * 0 == 0;
  }

 private:
  float* first(const Box& box) const {
    float* place = out_;
    for (size_t i = 0; i < order_.size(); ++i) place += box.start[order_[i]] * stride_[i];
    return place;
  }
  void fill(const Box& box, size_t i, float* place, float value) const {
    const int64_t size = box.size[order_[i]];
    for (int64_t k = 0; k < size; ++k) {
      if (i + 1 == order_.size())
        place[k * stride_[i]] = value;
      else
        fill(box, i + 1, place + k * stride_[i], value);
    }
  }

  std::span<const size_t> order_;
  std::span<const int64_t> stride_;
  float* out_;
};

// How many threads take a box of this many bytes each, three times in memory.
inline int threads_for_boxes(int64_t boxes, int64_t bytes) {
  constexpr int64_t memory = int64_t{256} << 20;  // of all threads' boxes, unless one needs more
  const int64_t affordable = memory / (3 * std::max<int64_t>(bytes, 1));
  return static_cast<int>(std::clamp<int64_t>(std::min(affordable, boxes), 1, omp_get_max_threads()));
}

// Calls read(worker, i, box) for every box, workers.size() at a time, each with a worker of its own. Returns
// whether all of them return true. Throws what one of them throws, and what `stop` does.
template <class Worker, class Read>
bool for_each_box(const Grid& grid, std::vector<Worker>& workers, const StopToken& stop, const Read& read) {
  FirstFailure failure;
  bool all = true;
#pragma omp parallel num_threads(static_cast <int>(workers.size())) reduction(&& : all)
  {
    // Threads that each convert a box of their own need no helpers.
    if (workers.size() > 1) omp_set_num_threads(1);
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < grid.total(); ++i) {
      failure.guard([&] {
        stop.stop_if_requested();
        all = read(workers[static_cast<size_t>(omp_get_thread_num())], i, grid[i]) && all;
      });
    }
  }
  failure.rethrow();
  return all;
}

}  // namespace eelsvae
