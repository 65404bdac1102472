#pragma once

#include "kernels/array.h"

namespace eelsvae {

// Calls f(float{}) or f(bfloat16{}), after the type in which activations are stored
// (Backend::storage_type()).
template <typename F>
void with_storage_type(DType type, F&& f) {
  if (type == DType::bf16)
    f(bfloat16{});
  else
    f(float{});
}

}  // namespace eelsvae
