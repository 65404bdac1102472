#pragma once

#include <cuda_runtime.h>

#include "kernels/array.h"
#include "kernels/conv3d.h"
#include "kernels/cuda/namespace.h"

namespace eelsvae::EELSVAE_GPU {

// Convolutions of one input channel along the energy axis alone: a network's first layer and, transposed, its
// last. They have too few multiply-adds for a product of matrices; each pass here reads its arrays once.
//
//   y[r, o, c] = bias[c] + sum over k of x[r, o * stride + k - padding] w[c, k]
//
// with spectra r = (n, h, w), x (N, H, W, E), y (N, H, W, E', C) in the storage type (bf16 or f32), and
// weights (C, K), their gradient and biases in f32, in which all arithmetic is.

// Whether the kernels below can do the problem: K <= 16, stride <= 8, C <= 64 if a multiple of 8, else
// C <= 16.
bool has_outer_kernels(const Conv3dProblem& problem);

// bias: of length C, or null.
void outer_forward(cudaStream_t stream, const Conv3dProblem& problem, DType storage, const void* x,
                   const float* w, const float* bias, bool relu, void* y);
// x = relu?(the adjoint of the convolution, applied to y, + bias); bias: of length 1, or null.
void outer_backward_data(cudaStream_t stream, const Conv3dProblem& problem, DType storage, const void* y,
                         const float* w, const float* bias, bool relu, void* x);
size_t outer_workspace_bytes(const Conv3dProblem& problem);
// dw[c, k] = sum over r, o of y[r, o, c] x[r, o * stride + k - padding]
void outer_backward_weights(cudaStream_t stream, const Conv3dProblem& problem, DType storage, const void* x,
                            const void* y, float* dw, void* workspace);

}  // namespace eelsvae::EELSVAE_GPU
