#pragma once

#include <string>

#include "kernels/cuda/convolution_plan.h"
#include "kernels/cuda/matrix_product.h"

namespace eelsvae::EELSVAE_GPU {

// Guards against libraries that compute something else: versions of cuDNN have been seen whose
// three-dimensional convolutions were wrong without a word. After a pass was run on data that is not all
// zero, a sample of its results is computed again by a kernel that goes by the definition.

// ||difference|| / ||expected|| over the sample; NaN if a result is. Waits for the stream.
double sampled_error(cudaStream_t stream, const ConvolutionRequest& request,
                     const ConvolutionTensors& tensors);
// a, b, c as in MatrixProduct::run.
double sampled_error(cudaStream_t stream, const MatrixProductRequest& request, const void* a, const void* b,
                     const void* c);

// Throws std::runtime_error, with the way's name, if the error is beyond what rounding in `math` explains.
void expect_small(double error, Math math, const std::string& way);

}  // namespace eelsvae::EELSVAE_GPU
