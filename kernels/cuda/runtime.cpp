#include "kernels/cuda/runtime.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <stdexcept>

#include "kernels/device_scope.h"
#include "kernels/error.h"

namespace eelsvae::EELSVAE_GPU {

void fail(const std::string& what, std::source_location place) {
  std::string file = place.file_name();
  throw std::runtime_error(
      file.substr(file.rfind("kernels/") == std::string::npos ? 0 : file.rfind("kernels/")) + ":" +
      std::to_string(place.line()) + ": " + what);
}

void check(cudaError_t status, const char* call, std::source_location place) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // so that the next check does not report it again
  fail(std::string(call) + ": " + cudaGetErrorName(status) + ", " + cudaGetErrorString(status), place);
}

Stream::Stream(int device) : device_(device) {
  use_device();
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
}
Stream::~Stream() {
  cudaStreamDestroy(stream_);
}
void Stream::use_device() const {
  thread_local uint64_t remembered_in = 0;
  if (const uint64_t scope = DeviceScope::current(); scope != 0 && scope != remembered_in) {
    int before = 0;
    check(cudaGetDevice(&before), "cudaGetDevice");
    DeviceScope::at_end([before] {
      int now = before;
      // One that was not changed is left alone: to set it would make the runtime take memory on it.
      if (cudaGetDevice(&now) == cudaSuccess && now != before) cudaSetDevice(before);
    });
    remembered_in = scope;
  }
  check(cudaSetDevice(device_), "cudaSetDevice");
}
void Stream::synchronize() const {
  check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
}

Event::Event() {
  check(cudaEventCreateWithFlags(&event_, cudaEventDefault), "cudaEventCreateWithFlags");
}
Event::~Event() {
  cudaEventDestroy(event_);
}
void Event::record(cudaStream_t stream) const {
  check(cudaEventRecord(event_, stream), "cudaEventRecord");
}
void Event::synchronize() const {
  check(cudaEventSynchronize(event_), "cudaEventSynchronize");
}
void Event::hold_back(cudaStream_t stream) const {
  check(cudaStreamWaitEvent(stream, event_, 0), "cudaStreamWaitEvent");
}
double Event::seconds_since(const Event& earlier) const {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, earlier.event_, event_), "cudaEventElapsedTime");
  return milliseconds * 1e-3;
}

void* allocate_device(size_t bytes) {
  void* memory = nullptr;
  cudaError_t status = cudaMalloc(&memory, std::max<size_t>(bytes, 1));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t available = 0, total = 0;
    check(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
    char text[200];
    std::snprintf(
        text, sizeof text,
        "not enough memory on the GPU: %.2f GB needed, %.2f GB available; take a smaller batch or end "
        "other programs on it",
        static_cast<double>(bytes) * 1e-9, static_cast<double>(available) * 1e-9);
    throw UserError(text);
  }
  check(status, "cudaMalloc");
  check(cudaMemset(memory, 0, bytes), "cudaMemset");
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");  // other streams do not wait for it by themselves
  return memory;
}

DeviceMemoryBlock::DeviceMemoryBlock(size_t bytes) : data_(allocate_device(bytes)), bytes_(bytes) {}
DeviceMemoryBlock::~DeviceMemoryBlock() {
  cudaFree(data_);
}

}  // namespace eelsvae::EELSVAE_GPU
