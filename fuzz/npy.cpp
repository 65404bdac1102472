#include "io/files/npy.h"

#include "fuzz/input_file.h"

using namespace eelsvae;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  unless_refused([&] { decode_npy({reinterpret_cast<const std::byte*>(data), size}, "input.npy"); });
  const std::string path = input_file(data, size);
  unless_refused([&] { read_npy_mask(path, 2, 3); });
  read_every_image(path);
  return 0;
}
