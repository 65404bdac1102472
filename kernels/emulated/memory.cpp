// Memory of the emulated devices, and copies: see include/cuda_runtime.h.
#include <algorithm>
#include <cstring>
#include <map>
#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#include "kernels/emulated/scheduler.h"
#include "kernels/host_memory.h"

namespace eelsvae::emulated_device {
namespace {

using Lock = std::lock_guard<std::recursive_mutex>;

// What cudaMalloc promises, and no more: an address is never a multiple of twice as much.
constexpr size_t alignment = 256;
constexpr int no_device = -1;

struct Allocation {
  size_t bytes;
  int device;  // no_device: page-locked memory of the host
};

std::map<uintptr_t, Allocation>& allocations() {
  static std::map<uintptr_t, Allocation>& all = *new std::map<uintptr_t, Allocation>;
  return all;
}

// Plain allocations, so that a memory checker of the host sees what a kernel reads and writes beyond them.
cudaError_t allocate(void** memory, size_t bytes, int device) {
  if (refused_by_capture()) return cudaErrorStreamCaptureUnsupported;
  if (bytes > eelsvae::host_memory().available) return cudaErrorMemoryAllocation;
  auto* block =
      static_cast<char*>(::operator new (alignment + bytes, std::align_val_t{2 * alignment}, std::nothrow));
  if (!block) return cudaErrorMemoryAllocation;
#ifdef __SANITIZE_ADDRESS__
  __asan_poison_memory_region(block, alignment);
#endif
  *memory = block + alignment;
  std::memset(*memory, 0xff, bytes);  // NaN in every type
  allocations()[reinterpret_cast<uintptr_t>(*memory)] = {bytes, device};
  return cudaSuccess;
}

void release(std::map<uintptr_t, Allocation>::iterator found) {
  char* block = reinterpret_cast<char*>(found->first) - alignment;
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(block, alignment);
#endif
  ::operator delete (block, std::align_val_t{2 * alignment});
  allocations().erase(found);
}

// The allocation that the address lies in or, for arrays without elements, ends at; null outside of all.
const Allocation* allocation_of(const void* address, size_t bytes, bool* whole) {
  const auto at = reinterpret_cast<uintptr_t>(address);
  auto after = allocations().upper_bound(at);
  if (after == allocations().begin()) return nullptr;
  const auto& [begin, allocation] = *std::prev(after);
  if (at > begin + allocation.bytes) return nullptr;
  *whole = bytes <= begin + allocation.bytes - at;
  return &allocation;
}

enum class Place { pageable, pinned, device, elsewhere };

// Where `bytes` from an address lie, for a copy on the device.
Place place_of(int device, const void* address, size_t bytes) {
  bool whole = false;
  const Allocation* allocation = allocation_of(address, bytes, &whole);
  if (!allocation) return Place::pageable;
  if (!whole) return Place::elsewhere;
  if (allocation->device == no_device) return Place::pinned;
  return allocation->device == device ? Place::device : Place::elsewhere;
}

// `rows` rows of `width` bytes.
struct Rows {
  size_t width, rows;
  size_t span(size_t pitch) const { return rows == 0 || width == 0 ? 0 : pitch * (rows - 1) + width; }
};

cudaError_t copy(void* to, size_t to_pitch, const void* from, size_t from_pitch, Rows size,
                 cudaMemcpyKind kind, cudaStream_t handle) {
  const Lock lock(device_lock());
  CUstream_st* stream = stream_of(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (size.width > to_pitch || size.width > from_pitch) return cudaErrorInvalidValue;
  const Place source = place_of(stream->device, from, size.span(from_pitch)),
              target = place_of(stream->device, to, size.span(to_pitch));
  const auto is_host = [](Place place) { return place == Place::pageable || place == Place::pinned; };
  if (kind == cudaMemcpyHostToDevice ? !is_host(source) : source != Place::device)
    return cudaErrorInvalidValue;
  if (kind == cudaMemcpyDeviceToHost ? !is_host(target) : target != Place::device)
    return cudaErrorInvalidValue;
  const bool pageable = source == Place::pageable || target == Place::pageable;
  if (stream->capture && pageable) {
    stream->capture->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  const auto rows = static_cast<int64_t>(size.rows);
  if (source == Place::pageable) {  // the call takes the values, the copy follows in the stream's order
    auto staged = std::make_shared<std::vector<char>>(size.width * size.rows);
    copy_rows(from, from_pitch, staged->data(), size.width, size.width, rows);
    queue(*stream, {[=] { copy_rows(staged->data(), size.width, to, to_pitch, size.width, rows); }, {to}});
    return cudaSuccess;
  }
  queue(*stream, {[=] { copy_rows(from, from_pitch, to, to_pitch, size.width, rows); }, {to, from}});
  if (target == Place::pageable) finish(*stream);
  return cudaSuccess;
}

}  // namespace

bool reachable(int device, const void* address) {
  bool whole = false;
  const Allocation* allocation = allocation_of(address, 0, &whole);
  return !address || (allocation && (allocation->device == device || allocation->device == no_device));
}

}  // namespace eelsvae::emulated_device

using namespace eelsvae::emulated_device;

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  const Lock lock(device_lock());
  int device = 0;
  cudaGetDevice(&device);
  return allocate(memory, bytes, device);
}
cudaError_t cudaFree(void* memory) {
  const Lock lock(device_lock());
  if (!memory) return cudaSuccess;
  const auto found = allocations().find(reinterpret_cast<uintptr_t>(memory));
  if (found == allocations().end() || found->second.device == no_device) return cudaErrorInvalidValue;
  if (refused_by_capture()) return cudaErrorStreamCaptureUnsupported;
  finish_device(found->second.device);
  release(found);
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** memory, size_t bytes) {
  const Lock lock(device_lock());
  return allocate(memory, bytes, no_device);
}
cudaError_t cudaFreeHost(void* memory) {
  const Lock lock(device_lock());
  if (!memory) return cudaSuccess;
  const auto found = allocations().find(reinterpret_cast<uintptr_t>(memory));
  if (found == allocations().end() || found->second.device != no_device) return cudaErrorInvalidValue;
  if (in_use(memory, found->second.bytes))
    fault("page-locked memory is freed while work that uses it is queued");
  release(found);
  return cudaSuccess;
}
cudaError_t cudaMemset(void* memory, int value, size_t bytes) {
  return cudaMemsetAsync(memory, value, bytes, nullptr);
}
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t handle) {
  const Lock lock(device_lock());
  CUstream_st* stream = stream_of(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (place_of(stream->device, memory, bytes) != Place::device) return cudaErrorInvalidValue;
  queue(*stream, {[=] { std::memset(memory, value, bytes); }, {memory}});
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return copy(to, bytes, from, bytes, {bytes, 1}, kind, stream);
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  return copy(to, to_pitch, from, from_pitch, {width, height}, kind, stream);
}
