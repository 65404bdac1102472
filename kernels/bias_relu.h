#pragma once

#include "kernels/array.h"

namespace eelsvae {

class BiasReluOperations {
 public:
  virtual ~BiasReluOperations() = default;

  // In place over y (rows, channels): y[r, c] = relu?(y[r, c] + bias[c]).
  // Memory: y once in, once out.
  virtual void bias_relu(int64_t rows, int64_t channels, ConstArray bias, bool relu, Array y) = 0;

  // Backward of the same, from the output y: in place over the gradient,
  //   gradient[r, c] = y[r, c] > 0 ? gradient[r, c] : 0     (left alone without ReLU; y may then be null)
  //   bias_gradient[c] = sum over r of gradient[r, c]       (after the mask; overwritten)
  // The gradient at y = 0 is 0, as in PyTorch.
  virtual void bias_relu_backward(int64_t rows, int64_t channels, ConstArray y, bool relu, Array gradient,
                                  Array bias_gradient) = 0;
};

}  // namespace eelsvae
