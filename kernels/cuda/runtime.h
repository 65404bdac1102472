#pragma once

#include <cuda_runtime.h>

#include <source_location>
#include <string>

#include "kernels/cuda/namespace.h"

namespace eelsvae::EELSVAE_GPU {

// Throws std::runtime_error with the call, its error and the place; nothing if the call succeeded.
void check(cudaError_t status, const char* call,
           std::source_location place = std::source_location::current());

// "where: what failed", for calls of the other libraries.
[[noreturn]] void fail(const std::string& what, std::source_location place = std::source_location::current());

// A stream of work on a device, in order.
class Stream {
 public:
  explicit Stream(int device);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  // Makes its device this thread's current one: nothing can be launched on a stream of another.
  operator cudaStream_t() const {
    use_device();
    return stream_;
  }
  void use_device() const;
  void synchronize() const;

 private:
  int device_;
  cudaStream_t stream_ = nullptr;
};

// A point in a stream of the device that is current when it is made, that another stream or the host can wait
// for.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  operator cudaEvent_t() const { return event_; }
  void record(cudaStream_t stream) const;
  void synchronize() const;                          // the host waits; at once if it was never recorded
  void hold_back(cudaStream_t stream) const;         // what is queued from now on waits
  double seconds_since(const Event& earlier) const;  // both must have passed

 private:
  cudaEvent_t event_ = nullptr;
};

// Device memory for the time of its owner.
class DeviceMemoryBlock {
 public:
  // Throws UserError, with the sizes, if there is not enough.
  explicit DeviceMemoryBlock(size_t bytes);
  ~DeviceMemoryBlock();
  DeviceMemoryBlock(const DeviceMemoryBlock&) = delete;
  DeviceMemoryBlock& operator=(const DeviceMemoryBlock&) = delete;
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_;
};

// Zero-initialized memory of the current device. Throws UserError, with the sizes, if there is not enough.
void* allocate_device(size_t bytes);

}  // namespace eelsvae::EELSVAE_GPU
