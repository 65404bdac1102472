// Nion's properties, whose checksum hides them from changes to a .ndata file.

#include "io/formats/nion.h"
#include "fuzz/input_file.h"
#include "io/files/json_text.h"

using namespace eelsvae;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  unless_refused([&] {
    const auto properties = parse_json_object({reinterpret_cast<const char*>(data), size}, "input");
    nion_metadata(properties).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    for (const std::vector<int64_t>& shape :
         std::vector<std::vector<int64_t>>{{}, {4}, {2, 3}, {2, 3, 4}, {5, 2, 3, 4}})
      for (const char* dtype : {"float32", "uint8"})
        unless_refused([&] { nion_image_info(properties, shape, dtype, "input"); });
  });
  return 0;
}
