#pragma once

#include "kernels/array.h"
#include "kernels/cuda/namespace.h"

namespace eelsvae::EELSVAE_GPU {

// How the big products compute: f32 throughout, f32 with factors rounded to 11 bits on the tensor cores, or
// bf16 activations on the tensor cores. Sums are f32 always.
enum class Math { fp32, tf32, bf16 };

constexpr const char* name_of(Math math) {
  return math == Math::bf16 ? "bf16" : math == Math::tf32 ? "tf32" : "fp32";
}

constexpr DType storage_of(Math math) {
  return math == Math::bf16 ? DType::bf16 : DType::f32;
}

}  // namespace eelsvae::EELSVAE_GPU
