#include "kernels/latent.h"

#include <cmath>

#include "kernels/reference/reference_backend.h"

namespace eelsvae {

void ReferenceBackend::reparameterize(int64_t batch, int64_t latent, ConstArray head_array, bool sample,
                                      const StepScalars* scalars, Array z_array, Array kl_array) {
  const double* head = elements(head_array, batch * 2 * latent);
  double* z = elements(z_array, batch * latent);
  double* kl = elements(kl_array, batch);
  for (int64_t b = 0; b < batch; ++b) {
    const double* mu = head + b * 2 * latent;
    const double* lv = mu + latent;
    kl[b] = 0;
    for (int64_t l = 0; l < latent; ++l) {
      int64_t i = b * latent + l;
      double eps = sample ? posterior_noise(scalars->seed, scalars->step, i) : 0;
      z[i] = mu[l] + std::exp(lv[l] / 2) * eps;
      kl[b] += -0.5 * (1 + lv[l] - mu[l] * mu[l] - std::exp(lv[l]));
    }
  }
}

void ReferenceBackend::reparameterize_backward(int64_t batch, int64_t latent, ConstArray head_array,
                                               ConstArray z_gradient, const StepScalars* scalars,
                                               Array head_gradient) {
  const double* head = elements(head_array, batch * 2 * latent);
  const double* dz = elements(z_gradient, batch * latent);
  double* dhead = elements(head_gradient, batch * 2 * latent);
  double weight = scalars->kl_weight;
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t l = 0; l < latent; ++l) {
      int64_t i = b * latent + l, i_mu = b * 2 * latent + l, i_lv = i_mu + latent;
      double eps = posterior_noise(scalars->seed, scalars->step, i);
      double mu = head[i_mu], lv = head[i_lv];
      // dz/dmu = 1, dKL/dmu = mu; dz/dlv = exp(lv / 2) eps / 2, dKL/dlv = (exp(lv) - 1) / 2
      dhead[i_mu] = dz[i] + weight * mu;
      dhead[i_lv] = dz[i] * std::exp(lv / 2) * eps / 2 + weight * (std::exp(lv) - 1) / 2;
    }
}

}  // namespace eelsvae
