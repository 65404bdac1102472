#include "kernels/reference/reference_backend.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "kernels/host_memory.h"

namespace eelsvae {
namespace {

double element(ConstArray array, int64_t i) {
  switch (array.type) {
    case DType::bf16:
      return array.as<bfloat16>()[i];
    case DType::f32:
      return array.as<float>()[i];
    case DType::f64:
      return array.as<double>()[i];
  }
  return 0;
}

// Rounding to float on the way to bfloat16 would round twice, and can land on a tie that the value itself is
// not: the float is nudged off it towards the value.
bfloat16 to_bfloat16(double value) {
  float nearest = static_cast<float>(value);
  bool tie = (std::bit_cast<uint32_t>(nearest) & 0xffffu) == 0x8000u;
  if (tie && static_cast<double>(nearest) != value)
    nearest = std::nextafter(nearest, value > nearest ? INFINITY : -INFINITY);
  return bfloat16(nearest);
}

std::optional<std::string> probe(int device) {
  return device == 0 ? std::nullopt : std::optional<std::string>("there is only reference:0");
}

std::vector<BackendVariant> variants(const std::string& precision, const std::string& kernels) {
  if (precision != "auto" && precision != "fp64")
    throw UserError("precision '" + precision + "': the reference device has only fp64");
  if (kernels != "auto") throw UserError("kernels '" + kernels + "': the reference device has only its own");
  return {{"fp64", ""}};
}

std::unique_ptr<Backend> create(int, const BackendVariant&) {
  return std::make_unique<ReferenceBackend>();
}

}  // namespace

const BackendFactory reference_backend = {
    "reference", /*automatic=*/false, /*preference=*/-1, probe, variants, create};

DeviceMemory ReferenceBackend::memory() const {
  return host_memory();
}
void* ReferenceBackend::allocate(size_t bytes) {
  return allocate_host(bytes);
}
void ReferenceBackend::release(void* memory, size_t bytes) noexcept {
  release_host(memory, bytes);
}

void ReferenceBackend::upload_rows(const void* host, size_t width, void* device, size_t pitch, int64_t rows) {
  copy_rows(host, width, device, pitch, width, rows);
}
void ReferenceBackend::download_rows(const void* device, size_t pitch, void* host, size_t width,
                                     int64_t rows) {
  copy_rows(device, pitch, host, width, width, rows);
}

void ReferenceBackend::convert(ConstArray source, Array destination) {
  expect(source.count == destination.count, "array of another size");
  for (int64_t i = 0; i < source.count; ++i) {
    double value = element(source, i);
    switch (destination.type) {
      case DType::bf16:
        destination.as<bfloat16>()[i] = to_bfloat16(value);
        break;
      case DType::f32:
        destination.as<float>()[i] = static_cast<float>(value);
        break;
      case DType::f64:
        destination.as<double>()[i] = value;
        break;
    }
  }
}

}  // namespace eelsvae
