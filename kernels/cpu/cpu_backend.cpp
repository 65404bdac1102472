#include "kernels/cpu/cpu_backend.h"

#include <fstream>

#include <omp.h>
#include <dnnl.hpp>

#include "kernels/cpu/loops.h"
#include "kernels/host_memory.h"

namespace eelsvae {
namespace {

bool has_native_bf16() {
  auto isa = dnnl::get_effective_cpu_isa();
  // oneDNN orders its instruction sets by bits: each includes those of the sets it extends.
  auto includes = [isa](dnnl::cpu_isa wanted) {
    auto have = static_cast<unsigned>(isa), need = static_cast<unsigned>(wanted);
    return (have & need) == need;
  };
  return includes(dnnl::cpu_isa::avx512_core_bf16);
}

std::string processor_name() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "CPU";
}

std::unique_ptr<Backend> create(int device, const std::string& precision) {
  if (device != 0) throw UserError("device cpu:" + std::to_string(device) + ": there is only one CPU device");
  if (precision == "auto") return std::make_unique<CpuBackend>(has_native_bf16() ? "bf16" : "fp32");
  if (precision == "bf16" && !has_native_bf16())
    throw UserError("precision bf16: this processor has no bf16 instructions (avx512_bf16); use fp32");
  if (precision != "fp32" && precision != "bf16")
    throw UserError("precision " + precision + ": the CPU has auto, fp32 and bf16");
  return std::make_unique<CpuBackend>(precision);
}

}  // namespace

extern const BackendFactory cpu_backend;
const BackendFactory cpu_backend = {"cpu", true, 10, [] { return std::optional<std::string>(); }, create};

CpuBackend::CpuBackend(const std::string& precision)
    : activation_(precision == "bf16" ? DType::bf16 : DType::f32) {}

std::string CpuBackend::description() const {
  const dnnl_version_t* version = dnnl::version();
  return processor_name() + ", " + std::to_string(omp_get_max_threads()) + " threads, oneDNN " +
         std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
         std::to_string(version->patch) + ", " + precision();
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

void CpuBackend::convert(ConstArray source, Array destination) {
  expect(source.count == destination.count, "convert: different sizes");
  cpu::with_activation_type(source.type, [&]<typename From>(From) {
    cpu::with_activation_type(destination.type, [&]<typename To>(To) {
      const From* from = source.as<From>();
      To* to = destination.as<To>();
      cpu::for_pieces(source.count, 1 << 16, [&](int64_t begin, int64_t end, int64_t) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) cpu::store(static_cast<float>(from[i]), to + i);
      });
    });
  });
}

}  // namespace eelsvae
