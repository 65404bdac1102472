// Lists and reads the images of a DM3 or DM4 file that is any bytes.

#include <cstddef>
#include <cstdint>

#include "io/formats/gatan.h"
#include "kernels/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace eelsvae;
  const auto content = std::as_bytes(std::span(data, size));
  try {
    for (const GatanMemoryImage& image : list_gatan_images(content, "file")) {
      if (!image.array || !image.info.fault.empty()) continue;
      std::vector<float> values(static_cast<size_t>(element_count(image.info.shape, 1)));
      convert_array(content.data() + image.offset, *image.array, dense_strides(image.info.shape),
                    values.data());
    }
  } catch (const UserError&) {
  }
  return 0;
}
