#pragma once

#include "kernels/array.h"

namespace eelsvae {

// Calls f(float{}) or f(bfloat16{}), after the storage type of activations.
template <typename F>
void with_activation_type(DType type, F&& f) {
  if (type == DType::bf16)
    f(bfloat16{});
  else
    f(float{});
}

}  // namespace eelsvae
