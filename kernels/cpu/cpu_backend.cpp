#include "kernels/cpu/cpu_backend.h"

#include <fstream>

#include <omp.h>

#include "kernels/cpu/host_image.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/streams.h"
#include "kernels/host_memory.h"

namespace eelsvae {
namespace {

std::string processor_name() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "CPU";
}

const cpu::TileOperations* tiles_of(DType activation, cpu::InstructionSet set) {
  if constexpr (cpu::tiles_exist)
    if (activation == DType::bf16) return cpu::tile_operations(set);
  return nullptr;
}

}  // namespace

// All that the rest of the program sees of this compilation.
extern "C" Backend* EELSVAE_CPU_ENTRY(DType activation, cpu::InstructionSet set) {
  return new CpuBackend(activation, set);
}

CpuBackend::CpuBackend(DType activation, cpu::InstructionSet set)
    : arithmetic_{activation, set, tiles_of(activation, set)} {}

std::string CpuBackend::processor() const {
  return processor_name() + ", " + std::to_string(omp_get_max_threads()) + " threads";
}

DeviceMemory CpuBackend::memory() const {
  return host_memory();
}
void* CpuBackend::allocate(size_t bytes) {
  return allocate_host(bytes);
}
void CpuBackend::release(void* memory, size_t bytes) noexcept {
  release_host(memory, bytes);
}
void CpuBackend::upload_rows(const void* host, size_t width, void* device, size_t pitch, int64_t rows) {
  copy_rows(host, width, device, pitch, width, rows);
}
void CpuBackend::download_rows(const void* device, size_t pitch, void* host, size_t width, int64_t rows) {
  copy_rows(device, pitch, host, width, width, rows);
}

std::unique_ptr<DeviceImage> CpuBackend::take_image(const ImageShape& shape, float* counts,
                                                    const uint8_t* excluded) {
  return cpu::make_host_image(shape, counts, excluded);
}

void CpuBackend::convert(ConstArray source, Array destination) {
  expect(source.count == destination.count, "convert: different sizes");
  cpu::with_storage_type(source.type, [&]<typename From>(From) {
    cpu::with_storage_type(destination.type, [&]<typename To>(To) {
      const From* from = source.as<From>();
      To* to = destination.as<To>();
      cpu::for_pieces(source.count, 1 << 16, [&](int64_t begin, int64_t end, int64_t) {
        cpu::convert(from + begin, end - begin, to + begin);
      });
    });
  });
}

}  // namespace eelsvae
