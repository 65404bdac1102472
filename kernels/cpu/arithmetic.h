#pragma once

#include "kernels/array.h"
#include "kernels/cpu/tiles.h"

namespace eelsvae::cpu {

// How a backend computes: what activations are stored as, what the processor may be asked for, and what
// multiplies tiles of bf16 (null: nothing, vectors of floats do).
struct Arithmetic {
  DType activation;
  InstructionSet set;
  const TileOperations* tiles = nullptr;
};

}  // namespace eelsvae::cpu
