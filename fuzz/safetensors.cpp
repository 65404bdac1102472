#include "io/files/safetensors.h"

#include "fuzz/input_file.h"

using namespace eelsvae;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string path = input_file(data, size);
  unless_refused([&] {
    looks_like_safetensors(path);
    const SafetensorsFile file(path);
    for (const std::string& name : file.names()) {
      const TensorView& tensor = file.tensor(name);
      if (tensor.elements() < 0) std::abort();
      [[maybe_unused]] volatile unsigned sum = 0;  // every byte can be read
      for (size_t i = 0; i < tensor.bytes; ++i) sum = sum + std::to_integer<unsigned>(tensor.data[i]);
    }
  });
  return 0;
}
