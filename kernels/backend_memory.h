#pragma once

#include <cstddef>

#include "kernels/backend.h"

namespace eelsvae {

// Memory of a backend for the time of its owner. UserError, with the sizes, if there is not enough.
class BackendMemory {
 public:
  BackendMemory(Backend& backend, size_t bytes)
      : backend_(backend), bytes_(bytes), data_(backend.allocate(bytes)) {}
  ~BackendMemory() { backend_.release(data_, bytes_); }
  BackendMemory(const BackendMemory&) = delete;
  BackendMemory& operator=(const BackendMemory&) = delete;
  void* data() const { return data_; }

 private:
  Backend& backend_;
  size_t bytes_;
  void* data_;
};

}  // namespace eelsvae
