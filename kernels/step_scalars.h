#pragma once

#include <cstdint>

namespace eelsvae {

// Everything in a training step that changes from step to step. It lives in the backend's memory and kernels
// read it there, so that a recorded step (a CUDA graph) can be replayed without new launch arguments.
struct StepScalars {
  uint64_t seed = 0;                 // of the posterior's noise
  uint64_t step = 0;                 // number of optimizer steps already taken
  double reconstruction_weight = 1;  // factor on a tile's reconstruction term: dose / tiles in the batch
  double kl_weight = 1;              // factor on a tile's KL term: beta after warm-up / tiles in the batch
  double learning_rate = 1e-4;
  double bias_correction1 = 1;  // 1 - beta1^t of Adam
  double bias_correction2 = 1;  // 1 - beta2^t
  double gradient_scale = 1;    // written by global clipping, read by the optimizer
};

}  // namespace eelsvae
