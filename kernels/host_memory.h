#pragma once

#include <cstddef>
#include <filesystem>
#include <new>
#include <utility>

#include "kernels/backend.h"

namespace eelsvae {

// Memory of this machine as far as this process may use it: MemTotal and MemAvailable of /proc/meminfo, or
// the tightest limit among the process's control groups (version 2 or 1) where one is lower. `root` holds
// proc/ and sys/. Throws std::runtime_error if proc/meminfo lacks the two numbers.
DeviceMemory host_memory(const std::filesystem::path& root = "/");

// Zeroed memory aligned to 4096 bytes, in huge pages where it is large. Throws UserError, with the bytes
// asked for and available, if there is not enough.
void* allocate_host(size_t bytes);
// `bytes` as given to allocate_host; null is allowed.
void release_host(void* memory, size_t bytes) noexcept;

// As allocate_host for arrays that may be larger than the memory of this machine. One that would take more
// than half of what is available, or than EELSVAE_CUBE_MEMORY (GB) where the environment sets that, lies in a
// file without a name in scratch_folder(): the system writes its pages out and reads them again as memory
// gets short. UserError, with the folder, if that has not the room or lies in memory itself.
void* allocate_spacious(size_t bytes);
// Bytes above which it takes a scratch file now.
size_t largest_in_memory();
// TMPDIR, or /var/tmp: /tmp lies in memory on many machines.
std::filesystem::path scratch_folder();
// Bytes of arrays that this process has had to put into scratch files so far.
size_t scratch_bytes();

// For containers of large arrays that are written as a whole: memory from allocate_host, elements left
// uninitialized where no value is given.
template <class T>
struct HostAllocator {
  using value_type = T;
  HostAllocator() = default;
  template <class U>
  HostAllocator(const HostAllocator<U>&) {}
  T* allocate(size_t count) { return static_cast<T*>(allocate_host(count * sizeof(T))); }
  void deallocate(T* memory, size_t count) noexcept { release_host(memory, count * sizeof(T)); }
  template <class U>
  void construct(U* element) {
    ::new (static_cast<void*>(element)) U;
  }
  template <class U, class... Arguments>
  void construct(U* element, Arguments&&... arguments) {
    ::new (static_cast<void*>(element)) U(std::forward<Arguments>(arguments)...);
  }
  bool operator==(const HostAllocator&) const { return true; }
};

template <class T>
struct SpaciousAllocator : HostAllocator<T> {
  SpaciousAllocator() = default;
  template <class U>
  SpaciousAllocator(const SpaciousAllocator<U>&) {}
  T* allocate(size_t count) { return static_cast<T*>(allocate_spacious(count * sizeof(T))); }
};

// Copies `rows` rows of `width` bytes between two places whose rows are a pitch apart.
void copy_rows(const void* from, size_t from_pitch, void* to, size_t to_pitch, size_t width, int64_t rows);

}  // namespace eelsvae
