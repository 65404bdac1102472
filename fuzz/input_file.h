#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
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

// Reads an image and its middle alone, which has to be that of the whole.
inline void read_whole_and_part(const std::string& path, const ReadOptions& options) {
  bool finite = false;
  const SpectrumImage whole = read_spectrum_image(path, options, &finite);
  const auto middle = [](int64_t size) {
    return std::array{size / 3, size / 3 + std::max<int64_t>(size / 2, 1)};
  };
  const std::array<int64_t, 2> y = middle(whole.y.size), x = middle(whole.x.size),
                               e = middle(whole.energy.size);
  CountArray part;
  open_spectrum_image(path, options).read({y, x, {e[0], e[1]}}, part);
  const float* read = part.data();
  for (int64_t row = y[0]; row < y[1]; ++row)
    for (int64_t column = x[0]; column < x[1]; ++column, read += e[1] - e[0])
      if (std::memcmp(read, whole.spectrum(row * whole.x.size + column) + e[0],
                      static_cast<size_t>(e[1] - e[0]) * sizeof(float)) != 0)
        std::abort();
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
        unless_refused([&] { read_whole_and_part(path, options); });
      }
    }
  });
}

}  // namespace eelsvae
