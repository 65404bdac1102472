#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace eelsvae {

// Names a buffer of a plan.
using BufferId = int;
constexpr BufferId no_buffer = -1;

// A table of named buffers with lifetimes. Time is counted in operations of a step: buffers whose lifetimes
// do not meet may share memory. Everything is known before anything is allocated.
class MemoryPlan {
 public:
  struct Buffer {
    std::string name;
    std::vector<int64_t> shape;
    DType type;
    int first, last;  // first and last operation that touches the buffer, inclusive
    size_t bytes, offset;
    int64_t count() const;
  };
  static constexpr int start = 0;
  static constexpr int forever = 1 << 20;

  BufferId add(std::string name, std::vector<int64_t> shape, DType type, int first = start,
               int last = forever);
  // Raw memory without a type of its own.
  BufferId add_bytes(std::string name, size_t bytes, int first = start, int last = forever);

  // Gives every buffer its place: largest first, each at the lowest offset where it meets no buffer that
  // lives at the same time.
  void place();

  const Buffer& operator[](BufferId id) const { return buffers_[static_cast<size_t>(id)]; }
  const std::vector<Buffer>& buffers() const { return buffers_; }
  // Size of the one allocation, in bytes; 0 before place().
  size_t bytes() const { return bytes_; }
  // The total beside the device's memory, two lines; and a line per buffer, largest first.
  std::string summary(const DeviceMemory& memory) const;
  std::string table() const;

 private:
  std::vector<Buffer> buffers_;
  size_t bytes_ = 0;
};

// The plan's memory on a backend; zeroed at the start.
class Arena {
 public:
  // Throws UserError, with both numbers and `advice`, where the device has less memory than the plan needs.
  Arena(Backend& backend, const MemoryPlan& plan,
        const std::string& advice = "lower training.batch_size, tiles.image_size or the model's sizes");
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  void* at(BufferId id) const;
  Array array(BufferId id) const;

 private:
  Backend& backend_;
  const MemoryPlan& plan_;
  char* memory_;
};

}  // namespace eelsvae
