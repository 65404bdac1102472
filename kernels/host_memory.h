#pragma once

#include <cstddef>
#include <filesystem>

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

// Copies `rows` rows of `width` bytes between two places whose rows are a pitch apart.
void copy_rows(const void* from, size_t from_pitch, void* to, size_t to_pitch, size_t width, int64_t rows);

}  // namespace eelsvae
