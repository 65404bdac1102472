#pragma once

#include <cmath>

#include "kernels/array.h"
#include "kernels/step_scalars.h"

namespace eelsvae {

// Squared norms for global gradient clipping; each is one f64 in backend memory.
//
// A Linear layer's weight gradient G = d^T x, with x (batch, in) and d (batch, out), is not stored; its norm
// follows from two small Gram matrices:
//   ||G||^2 = sum over b, b' of (x x^T)[b, b'] (d d^T)[b, b']

// The factor of torch.nn.utils.clip_grad_norm_: min(1, limit / (norm + 1e-6)); limit 0 means no clipping.
EELSVAE_HOST_DEVICE inline double clip_factor(double norm, double limit) {
  if (limit <= 0) return 1;
  double factor = limit / (norm + 1e-6);
  return factor < 1 ? factor : 1;
}

class NormOperations {
 public:
  virtual ~NormOperations() = default;
  virtual void squared_norm(ConstArray values, Array result) = 0;
  virtual size_t outer_product_workspace_bytes(int64_t batch) const = 0;
  virtual void squared_norm_outer_product(int64_t batch, int64_t in, int64_t out, ConstArray x, ConstArray d,
                                          Array result, void* workspace) = 0;
  // norm = sqrt(sum of squares) (one f64); scalars->gradient_scale = clip_factor(norm, limit).
  virtual void clip(ConstArray squares, double limit, Array norm, StepScalars* scalars) = 0;
};

}  // namespace eelsvae
