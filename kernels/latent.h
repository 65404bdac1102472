#pragma once

#include <cmath>

#include "kernels/array.h"
#include "kernels/philox.h"
#include "kernels/step_scalars.h"

namespace eelsvae {

// The Gaussian posterior of a variational autoencoder. The encoder's head is (batch, 2 latent): the mean mu,
// then the logarithm of the variance lv.
//
//   z  = mu + exp(lv / 2) eps,  eps standard normal, drawn from (seed, step, element)
//   KL = -1/2 sum over the latent axis of (1 + lv - mu^2 - exp(lv))        (Kingma & Welling 2014, appendix
//   B)

EELSVAE_HOST_DEVICE inline double posterior_noise(uint64_t seed, uint64_t step, int64_t element) {
  Philox4 r = philox(seed, RandomStream::posterior, step, static_cast<uint64_t>(element / 2));
  NormalPair pair = normal_pair(r.v[0], r.v[1]);
  return element % 2 == 0 ? pair.first : pair.second;
}

template <typename Real>
EELSVAE_HOST_DEVICE Real kl_term(Real mu, Real lv) {
  return Real(-0.5) * (Real(1) + lv - mu * mu - std::exp(lv));
}

// Gradient of  weight * KL + L(z)  with respect to mu and lv, given dL/dz.
template <typename Real>
struct PosteriorGradient {
  Real mu, lv;
};
template <typename Real>
EELSVAE_HOST_DEVICE PosteriorGradient<Real> posterior_gradient(Real mu, Real lv, Real eps, Real dz,
                                                               Real weight) {
  Real sigma = std::exp(Real(0.5) * lv);
  return {dz + weight * mu, Real(0.5) * (dz * eps * sigma + weight * (sigma * sigma - Real(1)))};
}

class LatentOperations {
 public:
  virtual ~LatentOperations() = default;

  // z (batch, latent) from head (batch, 2 latent), and kl[b] = KL of row b (f64, unweighted). With sample =
  // false z is the mean. head and z have the activation type; arithmetic is in the master type.
  virtual void reparameterize(int64_t batch, int64_t latent, ConstArray head, bool sample,
                              const StepScalars* scalars, Array z, Array kl) = 0;
  // Gradient of the head from that of z; draws the same noise again and adds scalars->kl_weight * dKL.
  virtual void reparameterize_backward(int64_t batch, int64_t latent, ConstArray head, ConstArray z_gradient,
                                       const StepScalars* scalars, Array head_gradient) = 0;
};

}  // namespace eelsvae
