#pragma once

#include <string>

#include "kernels/cuda/namespace.h"

namespace eelsvae::EELSVAE_GPU {

// "CUDA 13.0 (driver 13.1), cuDNN 9.19.0, cuBLAS 13.1.0": what results were computed with.
std::string library_versions();

}  // namespace eelsvae::EELSVAE_GPU
