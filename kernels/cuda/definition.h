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

// a, b, c as in MatrixProduct::run.
struct MatrixProductTensors {
  const void *a, *b, *c;
};

// ||difference|| / ||expected|| over a sample of the results that a pass left in its tensors; NaN if a result
// is. Waits for the stream.
double sampled_error(cudaStream_t stream, const ConvolutionRequest& request,
                     const ConvolutionTensors& tensors);
double sampled_error(cudaStream_t stream, const MatrixProductRequest& request,
                     const MatrixProductTensors& tensors);

// Throws std::runtime_error, with the way's name, if that error is beyond the operation_tolerance of `math`
// for as many terms as a result has.
void expect_right(cudaStream_t stream, const ConvolutionRequest& request, const ConvolutionTensors& tensors,
                  const std::string& way);
void expect_right(cudaStream_t stream, const MatrixProductRequest& request,
                  const MatrixProductTensors& tensors, const std::string& way);

}  // namespace eelsvae::EELSVAE_GPU
