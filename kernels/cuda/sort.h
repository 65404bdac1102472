#pragma once

#include "kernels/cuda/runtime.h"

namespace eelsvae::EELSVAE_GPU {

// sorted = the values in ascending order, none of which may be NaN. Takes about as much device memory again
// and waits for the result.
void sort_values(cudaStream_t stream, int64_t count, const float* values, float* sorted);

}  // namespace eelsvae::EELSVAE_GPU
