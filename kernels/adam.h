#pragma once

#include <cmath>

#include "kernels/array.h"
#include "kernels/step_scalars.h"

namespace eelsvae {

// Adam (Kingma & Ba 2015) as torch.optim.Adam computes it, without weight decay:
//   m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2
//   w = w - lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)
struct AdamConstants {
  static constexpr double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
};

// The step-dependent part of the formula, in the precision of the state.
template <typename Real>
struct AdamStep {
  Real gradient_scale, step_size, inverse_sqrt_correction2;

  EELSVAE_HOST_DEVICE explicit AdamStep(const StepScalars& s)
      : gradient_scale(static_cast<Real>(s.gradient_scale)),
        step_size(static_cast<Real>(s.learning_rate / s.bias_correction1)),
        inverse_sqrt_correction2(static_cast<Real>(1.0 / std::sqrt(s.bias_correction2))) {}
};

template <typename Real>
EELSVAE_HOST_DEVICE inline void adam_update(Real& w, Real& m, Real& v, Real g, const AdamStep<Real>& s) {
  constexpr Real b1 = Real(AdamConstants::beta1), b2 = Real(AdamConstants::beta2);
  // Rounded from double: 1 - 0.999f is off by 1.3e-5.
  constexpr Real c1 = Real(1 - AdamConstants::beta1), c2 = Real(1 - AdamConstants::beta2);
  g *= s.gradient_scale;
  m = b1 * m + c1 * g;
  v = b2 * v + c2 * g * g;
  w -= s.step_size * m / (std::sqrt(v) * s.inverse_sqrt_correction2 + Real(AdamConstants::epsilon));
}

class AdamOperations {
 public:
  virtual ~AdamOperations() = default;

  // One update of w with gradient g; w, m, v, g of the master type.
  virtual void adam(ConstArray gradient, const StepScalars* scalars, Array w, Array m, Array v) = 0;

  // One update of a Linear layer's w (out, in) with the gradient d^T x, x (batch, in) and d (batch, out) of
  // the activation type, formed tile by tile and never stored. shadow, if not null, receives the new weights
  // in the activation type. Memory per weight: w, m, v in and out (24 bytes in f32) and the shadow out (2 in
  // bf16).
  virtual void adam_outer_product(int64_t batch, int64_t in, int64_t out, ConstArray x, ConstArray d,
                                  const StepScalars* scalars, Array w, Array m, Array v, Array shadow) = 0;
};

}  // namespace eelsvae
