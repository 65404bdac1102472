#pragma once

#include <cstdint>
#include <memory>

#include "kernels/array.h"
#include "kernels/passes.h"

namespace eelsvae {

// y[b, o] = bias[o] + sum over i of x[b, i] * w[o, i];  x (batch, in), w (out, in), y (batch, out).
struct LinearProblem {
  int64_t batch = 1, in = 1, out = 1;
  double flops() const { return 2.0 * static_cast<double>(batch) * static_cast<double>(in * out); }
  bool operator==(const LinearProblem&) const = default;
};

// A Linear layer made ready for one problem and for the passes it will be asked for. x, y, w and their
// gradients have the backend's activation type (w is a shadow of the master weights where the types differ),
// the bias the master type. There is no pass for the weight gradient: it is x^T dy of rank `batch`, its norm
// comes from squared_norm_outer_product and the optimizer forms it on the fly (adam_outer_product).
class Linear {
 public:
  virtual ~Linear() = default;
  virtual size_t workspace_bytes() const = 0;
  // y = relu?(x w^T + bias)
  virtual void forward(ConstArray x, ConstArray weights, ConstArray bias, bool relu, Array y,
                       void* workspace) = 0;
  // dx = dy w; needs Passes::training.
  virtual void backward_data(ConstArray y_gradient, ConstArray weights, Array x_gradient,
                             void* workspace) = 0;
};

class LinearOperations {
 public:
  virtual ~LinearOperations() = default;
  virtual std::unique_ptr<Linear> make_linear(const LinearProblem& problem, Passes passes) = 0;
};

}  // namespace eelsvae
