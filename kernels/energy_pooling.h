#pragma once

#include "kernels/array.h"

namespace eelsvae {

// What is left of maps (batch, positions, channels) when places along the energy axis no longer matter:
//   y[b, c]            = log sum over p of exp x[b, p, c]    a largest value that has a gradient everywhere
//   y[b, channels + c] = mean over p of x[b, p, c]
// Backward, from y and its gradient:
//   dx[b, p, c] = exp(x[b, p, c] - y[b, c]) dy[b, c] + dy[b, channels + c] / positions
// x, y and their gradients have the activation type; arithmetic is in the master type. Memory: x twice in
// (the second time from the cache), or x once in and dx out.
class EnergyPoolingOperations {
 public:
  virtual ~EnergyPoolingOperations() = default;
  virtual void energy_pooling(int64_t batch, int64_t positions, int64_t channels, ConstArray x, Array y) = 0;
  virtual void energy_pooling_backward(int64_t batch, int64_t positions, int64_t channels, ConstArray x,
                                       ConstArray y, ConstArray y_gradient, Array x_gradient) = 0;
};

}  // namespace eelsvae
