#include <cublasLt.h>
#include <cuda_runtime.h>
#include <cudnn.h>

#include "kernels/cuda/library_versions.h"
#include "kernels/cuda/runtime.h"

namespace eelsvae::EELSVAE_GPU {

std::string library_versions() {
  // CUDA counts 1000 a version and 10 a minor one.
  auto cuda_version = [](int number) {
    return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
  };
  auto three_parts = [](size_t major, size_t minor, size_t patch) {
    return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
  };
  int runtime = 0, driver = 0;
  check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
  check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  const size_t cudnn = cudnnGetVersion(), cublas = cublasLtGetVersion();
  return "CUDA " + cuda_version(runtime) + " (" + (driver ? "driver " + cuda_version(driver) : "no driver") +
         "), cuDNN " + three_parts(cudnn / 10000, cudnn / 100 % 100, cudnn % 100) + ", cuBLAS " +
         three_parts(cublas / 10000, cublas / 100 % 100, cublas % 100);
}

}  // namespace eelsvae::EELSVAE_GPU
