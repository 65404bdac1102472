#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/conv3d.h"
#include "kernels/cuda/device_properties.h"
#include "kernels/cuda/math.h"
#include "kernels/cuda/runtime.h"

namespace eelsvae::EELSVAE_GPU {

enum class ConvolutionPass { forward, backward_data, backward_weights };

// One pass of a convolution as a library carries it out. All tensors are channels-last and have the storage
// type of `math`, the bias and a written w too: cuDNN's precompiled engines for bf16 take no other.
//   forward           y = relu?(conv(x, w) + bias?)
//   backward_data     x = the adjoint of conv, applied to y
//   backward_weights  w = sum over n, o of y[n, o] x[n, o * stride + k - padding]
struct ConvolutionRequest {
  Conv3dProblem problem;
  ConvolutionPass pass = ConvolutionPass::forward;
  Math math = Math::fp32;
  bool bias = false, relu = false;  // forward only
  bool operator==(const ConvolutionRequest&) const = default;
};

struct ConvolutionTensors {
  void *x, *w, *y;  // which of them is written is the pass's matter
  const void* bias;
};

// A way to carry out a request, ready to run.
class ConvolutionPlan {
 public:
  virtual ~ConvolutionPlan() = default;
  // What tells it from the other plans of the same request, also in another process: for the cache and
  // reports.
  virtual std::string name() const = 0;
  virtual size_t workspace_bytes() const = 0;
  virtual void run(cudaStream_t stream, const ConvolutionTensors& tensors, void* workspace) const = 0;
};

// How much workspace a plan may ask for, in bytes: a twentieth of the device's memory. Algorithms that
// reorder whole tensors need much, and are the only ones in f32 for some passes of large batches (4 GB of 80
// at 64 tiles).
inline size_t workspace_limit(const DeviceProperties& device) {
  return device.memory_bytes / 20;
}

// The plans that the library offers for a request on a device, its own favourite first; none with a larger
// workspace, and of the others only the best kind that there is: those whose sums keep their order before
// those whose sums do not, and among equals, in bf16, those on the tensor cores. The device need not be
// present: plans can be looked at without it, but not run.
std::vector<std::unique_ptr<ConvolutionPlan>> convolution_plans(const ConvolutionRequest& request,
                                                                const DeviceProperties& device,
                                                                size_t workspace_limit);

}  // namespace eelsvae::EELSVAE_GPU
