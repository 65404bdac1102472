#pragma once

// Internal to io/: reading an array box by box, with all threads.

#include <omp.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/first_failure.h"
#include "engine/stop_token.h"
#include "io/containers/boxes.h"
#include "io/files/stored_array.h"

namespace eelsvae {

// Where the elements of the part that is wanted of an array go. order, part and stride: as the image has its
// axes, of which axis i is the array's axis order[i] (ImageValues::read).
class BoxTarget {
 public:
  BoxTarget(std::span<const size_t> order, const ArrayPart& part, std::span<const int64_t> stride, float* out)
      : wanted_(part), stride_(stride.begin(), stride.end()), out_(out) {
    for (size_t i = 0; i < order.size(); ++i) {
      wanted_.first[order[i]] = part.first[i];
      wanted_.size[order[i]] = part.size[i];
      stride_[order[i]] = stride[i];
    }
  }

  bool wants(const Box& box) const { return overlap(box).has_value(); }

  // Places what is wanted of a box, whose first number is `numbers` and which begins the array `stored`.
  // Returns whether all of that are finite.
  bool place(const Box& box, const StoredArray& stored, const std::byte* numbers) const {
    const std::optional<Overlap> shared = overlap(box);
    if (!shared) return true;
    const auto [part, begin] = part_of(stored, shared->in_box);
    return convert_array(numbers + begin, part, stride_, first(*shared));
  }

  // Returns whether the value is finite.
  bool fill(const Box& box, float value) const {
    if (const std::optional<Overlap> shared = overlap(box))
      fill(shared->in_box.size, 0, first(*shared), value);
    return value * 0 == 0;
  }

 private:
  std::optional<Overlap> overlap(const Box& box) const { return overlap_of(box.start, box.size, wanted_); }
  float* first(const Overlap& shared) const {
    float* place = out_;
    for (size_t d = 0; d < stride_.size(); ++d) place += shared.in_wanted[d] * stride_[d];
    return place;
  }
  void fill(const std::vector<int64_t>& size, size_t d, float* place, float value) const {
    for (int64_t k = 0; k < size[d]; ++k) {
      if (d + 1 == size.size())
        place[k * stride_[d]] = value;
      else
        fill(size, d + 1, place + k * stride_[d], value);
    }
  }

  ArrayPart wanted_;             // these along the array's axes
  std::vector<int64_t> stride_;  // floats
  float* out_;
};

// A box's sizes in the order in which the image has its axes, which is order[i] for axis i; none if it has
// none.
inline std::vector<int64_t> in_order_of_image(std::span<const int64_t> box, std::span<const size_t> order) {
  std::vector<int64_t> sizes;
  if (!box.empty())
    for (const size_t axis : order) sizes.push_back(box[axis]);
  return sizes;
}

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
