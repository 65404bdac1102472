#pragma once

#include <string>

#include "kernels/cuda/convolution_plan.h"
#include "kernels/cuda/matrix_product.h"

namespace eelsvae::EELSVAE_GPU {

// Convolutions and matrix products by kernels that go by the definition. They do two things: check what
// libraries compute, since versions of cuDNN have been seen whose three-dimensional convolutions were wrong
// without a word, and stand in where a library has nothing, as for odd channel counts in bf16.

// The request by the definition; slow, and needs no workspace.
std::unique_ptr<ConvolutionPlan> convolution_by_definition(const ConvolutionRequest& request);

// ||difference|| / ||expected|| over a sample of the results that a pass left in its tensors; NaN if a result
// is. Waits for the stream.
double sampled_error(cudaStream_t stream, const ConvolutionRequest& request,
                     const ConvolutionTensors& tensors);
// a, b, c as in MatrixProduct::run.
double sampled_error(cudaStream_t stream, const MatrixProductRequest& request, const void* a, const void* b,
                     const void* c);

// Throws std::runtime_error, with the way's name, if the error is beyond what rounding in `math` explains.
void expect_small(double error, Math math, const std::string& way);

}  // namespace eelsvae::EELSVAE_GPU
