#include "kernels/latent.h"

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/loops.h"

namespace eelsvae {

void CpuBackend::reparameterize(int64_t batch, int64_t latent, ConstArray head, bool sample,
                                const StepScalars* scalars, Array z, Array kl) {
  expect(head.count == 2 * batch * latent && z.count == batch * latent && kl.count == batch,
         "reparameterize: wrong sizes");
  double* pkl = kl.as<double>();
  cpu::with_storage_type(arithmetic_.activation, [&]<typename T>(T) {
    const T* h = head.as<T>();
    T* pz = z.as<T>();
    for (int64_t b = 0; b < batch; ++b) {
      double sum = 0;
      for (int64_t j = 0; j < latent; ++j) {
        float mu = h[b * 2 * latent + j], lv = h[b * 2 * latent + latent + j];
        float noise = 0;
        if (sample) noise = static_cast<float>(posterior_noise(scalars->seed, scalars->step, b * latent + j));
        cpu::store(mu + std::exp(0.5f * lv) * noise, pz + b * latent + j);
        sum += kl_term(mu, lv);
      }
      pkl[b] = sum;
    }
  });
}

void CpuBackend::reparameterize_backward(int64_t batch, int64_t latent, ConstArray head,
                                         ConstArray z_gradient, const StepScalars* scalars,
                                         Array head_gradient) {
  expect(head.count == 2 * batch * latent && z_gradient.count == batch * latent &&
             head_gradient.count == head.count,
         "reparameterize_backward: wrong sizes");
  cpu::with_storage_type(arithmetic_.activation, [&]<typename T>(T) {
    const T *h = head.as<T>(), *dz = z_gradient.as<T>();
    T* dh = head_gradient.as<T>();
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t j = 0; j < latent; ++j) {
        int64_t mu = b * 2 * latent + j, lv = mu + latent;
        float noise = static_cast<float>(posterior_noise(scalars->seed, scalars->step, b * latent + j));
        PosteriorGradient<float> g = posterior_gradient<float>(h[mu], h[lv], noise, dz[b * latent + j],
                                                               static_cast<float>(scalars->kl_weight));
        cpu::store(g.mu, dh + mu);
        cpu::store(g.lv, dh + lv);
      }
  });
}

}  // namespace eelsvae
