#include "kernels/host_memory.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "kernels/no_room.h"

namespace eelsvae {
namespace {

using std::filesystem::path;

// The number in a file that holds nothing else; nullopt for "max" and for a file that is not there.
std::optional<uint64_t> read_number(const path& file) {
  std::ifstream stream(file);
  uint64_t number = 0;
  if (stream >> number) return number;
  return std::nullopt;
}

// The number after a name in a file of lines "name number ...".
std::optional<uint64_t> read_entry(const path& file, const std::string& name) {
  std::ifstream stream(file);
  std::string line;
  while (std::getline(stream, line)) {
    std::istringstream words(line);
    std::string word;
    uint64_t number = 0;
    if (words >> word >> number && word == name) return number;
  }
  return std::nullopt;
}

struct ControlGroupFiles {
  const char *limit, *usage, *reclaimable;
};
constexpr ControlGroupFiles version1 = {"memory.limit_in_bytes", "memory.usage_in_bytes",
                                        "total_inactive_file"};
constexpr ControlGroupFiles version2 = {"memory.max", "memory.current", "inactive_file"};

// Lowers `memory` to the limits of a control group and of the groups that contain it. A container often sees
// its own group at the mount point but is told the path of the machine, so folders may be missing on the way.
void apply_control_group(const path& mount, const path& group, const ControlGroupFiles& files,
                         DeviceMemory& memory) {
  for (path inner = group.relative_path();; inner = inner.parent_path()) {
    path folder = mount / inner;
    if (std::optional<uint64_t> limit = read_number(folder / files.limit)) {
      uint64_t usage = read_number(folder / files.usage).value_or(0);
      // Pages of files not lately used count as usage but are given back on demand.
      uint64_t reclaimable = read_entry(folder / "memory.stat", files.reclaimable).value_or(0);
      uint64_t used = usage - std::min(usage, reclaimable);
      memory.total = std::min<uint64_t>(memory.total, *limit);
      memory.available = std::min<uint64_t>(memory.available, *limit - std::min(*limit, used));
    }
    if (inner.empty()) return;
  }
}

bool contains_word(const std::string& comma_separated, const std::string& word) {
  std::istringstream words(comma_separated);
  std::string candidate;
  while (std::getline(words, candidate, ','))
    if (candidate == word) return true;
  return false;
}

std::string gigabytes(size_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f GB", static_cast<double>(bytes) * 1e-9);
  return text;
}

// An empty mapping is not allowed, an empty array is.
size_t mapped_bytes(size_t bytes) {
  return std::max<size_t>(bytes, 1);
}

// Of the process, as its memory is. It decides how an image is gone through, not what comes out.
std::atomic<size_t> bytes_in_scratch_files = 0;

// A file that vanishes with its last use. All of its room is taken at once: a page that the disk has no room
// for when it is written out would end the process.
class ScratchFile {
 public:
  explicit ScratchFile(size_t bytes) : folder_(scratch_folder()) {
    std::string name = (folder_ / "eelsvae-XXXXXX").string();
    descriptor_ = mkostemp(name.data(), O_CLOEXEC);
    if (descriptor_ < 0) fail(bytes, std::strerror(errno));
    unlink(name.c_str());
    struct statfs system = {};
    const bool known = fstatfs(descriptor_, &system) == 0;
    std::string reason;
    if (known && (system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC))
      reason = "lies in memory itself";
    else if (known && system.f_blocks > 0 && bytes / static_cast<size_t>(system.f_bsize) >= system.f_bavail)
      reason = std::strerror(ENOSPC);  // at once, and not after the disk was filled
    else if (const int error = posix_fallocate(descriptor_, 0, static_cast<off_t>(bytes)))
      reason = std::strerror(error);
    if (!reason.empty()) {
      close(descriptor_);
      fail(bytes, reason);
    }
  }
  ~ScratchFile() { close(descriptor_); }  // a mapping keeps what it maps
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  int descriptor() const { return descriptor_; }

 private:
  [[noreturn]] void fail(size_t bytes, const std::string& reason) const {
    throw NoRoom(folder_.string() + ": no room for " + gigabytes(bytes) + " that do not fit into memory (" +
                 reason + "); set TMPDIR to a folder on a disk that has");
  }

  path folder_;
  int descriptor_;
};

}  // namespace

DeviceMemory host_memory(const path& root) {
  path meminfo = root / "proc/meminfo";
  std::optional<uint64_t> total = read_entry(meminfo, "MemTotal:");
  std::optional<uint64_t> available = read_entry(meminfo, "MemAvailable:");
  if (!total || !available) throw std::runtime_error(meminfo.string() + ": no MemTotal and MemAvailable");
  DeviceMemory memory{*total * 1024, *available * 1024};

  // Lines "hierarchy:controllers:/path"; the one without controllers is version 2.
  std::ifstream groups(root / "proc/self/cgroup");
  std::string line;
  while (std::getline(groups, line)) {
    size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::string controllers = line.substr(first + 1, second - first - 1);
    path group = line.substr(second + 1);
    if (controllers.empty()) apply_control_group(root / "sys/fs/cgroup", group, version2, memory);
    if (contains_word(controllers, "memory"))
      apply_control_group(root / "sys/fs/cgroup/memory", group, version1, memory);
  }
  return memory;
}

void* allocate_host(size_t bytes) {
  constexpr size_t huge_page = size_t{2} << 20;
  size_t available = host_memory().available;
  void* memory = MAP_FAILED;
  // Asked first, because the kernel promises memory it does not have and ends the process that touches it.
  if (bytes <= available)
    memory = mmap(nullptr, mapped_bytes(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    throw NoRoom("not enough memory: " + gigabytes(bytes) + " needed, " + gigabytes(available) +
                 " available");
  // Fewer pages to look up in the big Linear layers; a kernel without huge pages declines, which is no error.
  if (bytes >= huge_page) madvise(memory, bytes, MADV_HUGEPAGE);
  return memory;
}

size_t largest_in_memory() {
  const char* text = std::getenv("EELSVAE_CUBE_MEMORY");
  if (!text || !*text) return host_memory().available / 2;
  char* end = nullptr;
  const double gigabytes = std::strtod(text, &end);
  if (*end || !(gigabytes >= 0 && gigabytes < 1e9))
    throw UserError("EELSVAE_CUBE_MEMORY is '" + std::string(text) + "'; it must be a number of GB");
  return static_cast<size_t>(gigabytes * 1e9);
}

void* allocate_spacious(size_t bytes) {
  if (bytes <= largest_in_memory()) return allocate_host(bytes);
  const ScratchFile file(bytes);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.descriptor(), 0);
  if (memory == MAP_FAILED)
    throw UserError("cannot map " + gigabytes(bytes) + " of a file: " + std::strerror(errno));
  bytes_in_scratch_files += bytes;
  return memory;
}

path scratch_folder() {
  const char* folder = std::getenv("TMPDIR");
  return folder && *folder ? folder : "/var/tmp";
}

size_t scratch_bytes() {
  return bytes_in_scratch_files;
}

void release_host(void* memory, size_t bytes) noexcept {
  if (memory) munmap(memory, mapped_bytes(bytes));
}

void copy_rows(const void* from, size_t from_pitch, void* to, size_t to_pitch, size_t width, int64_t rows) {
  for (int64_t r = 0; r < rows; ++r)
    std::memcpy(static_cast<char*>(to) + static_cast<size_t>(r) * to_pitch,
                static_cast<const char*>(from) + static_cast<size_t>(r) * from_pitch, width);
}

}  // namespace eelsvae
