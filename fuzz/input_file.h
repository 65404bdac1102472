#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "io/formats/spectrum_image_file.h"
#include "kernels/error.h"

namespace eelsvae {

// A file in memory, for readers that take a path.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(memfd_create("input", 0)) {
    if (descriptor_ < 0) std::abort();
  }
  ~MemoryFile() { close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }
  void write(const uint8_t* data, size_t size) const {
    if (ftruncate(descriptor_, 0) != 0 || pwrite(descriptor_, data, size, 0) != static_cast<ssize_t>(size))
      std::abort();
  }

 private:
  int descriptor_;
};

// The path of a file with the bytes of an input; always the same file.
inline std::string input_file(const uint8_t* data, size_t size) {
  static const MemoryFile file;
  file.write(data, size);
  return file.path();
}

// What a user error looks like is no matter here; any other exception ends the program.
template <class Action>
void unless_refused(const Action& action) {
  try {
    action();
  } catch (const UserError&) {
  }
}

// Lists the images of a file and reads each of them, also with its axes taken in another order.
inline void read_every_image(const std::string& path) {
  unless_refused([&] {
    const size_t count = list_images(path).size();
    for (size_t i = 0; i < count && i < 16; ++i) {
      for (const char* axes : {"yxE", "Eyx"}) {
        ReadOptions options;
        options.dataset = static_cast<int64_t>(i);
        options.axes = axes;
        unless_refused([&] { read_spectrum_image(path, options); });
      }
    }
  });
}

}  // namespace eelsvae
