#pragma once

#include "kernels/error.h"

namespace eelsvae {

// What a layer is made for. Algorithms are chosen, checked and given memory for these passes alone; to ask
// for another is an error.
enum class Passes {
  forward,   // of a network that reconstructs
  training,  // forward and backward
};

inline void expect_training(Passes passes) {
  expect(passes == Passes::training, "a backward pass of a layer that was made for the forward pass");
}

}  // namespace eelsvae
