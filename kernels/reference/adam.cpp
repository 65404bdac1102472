#include "kernels/adam.h"

#include <cmath>

#include "kernels/reference/reference_backend.h"

namespace eelsvae {
namespace {

// Algorithm 1 of Kingma & Ba, with the moments corrected one by one.
void update(double gradient, const StepScalars& s, double& w, double& m, double& v) {
  double g = gradient * s.gradient_scale;
  m = AdamConstants::beta1 * m + (1 - AdamConstants::beta1) * g;
  v = AdamConstants::beta2 * v + (1 - AdamConstants::beta2) * g * g;
  double corrected_m = m / s.bias_correction1;
  double corrected_v = v / s.bias_correction2;
  w -= s.learning_rate * corrected_m / (std::sqrt(corrected_v) + AdamConstants::epsilon);
}

}  // namespace

void ReferenceBackend::adam(ConstArray gradient, const StepScalars* scalars, Array w_array, Array m_array,
                            Array v_array) {
  int64_t count = gradient.count;
  const double* g = elements(gradient, count);
  double *w = elements(w_array, count), *m = elements(m_array, count), *v = elements(v_array, count);
  for (int64_t i = 0; i < count; ++i) update(g[i], *scalars, w[i], m[i], v[i]);
}

void ReferenceBackend::adam_outer_product(int64_t batch, int64_t in, int64_t out, ConstArray x_array,
                                          ConstArray d_array, const StepScalars* scalars, Array w_array,
                                          Array m_array, Array v_array, Array shadow_array) {
  const double* x = elements(x_array, batch * in);
  const double* d = elements(d_array, batch * out);
  double *w = elements(w_array, in * out), *m = elements(m_array, in * out), *v = elements(v_array, in * out);
  double* shadow = shadow_array ? elements(shadow_array, in * out) : nullptr;
#pragma omp parallel for
  for (int64_t o = 0; o < out; ++o)
    for (int64_t i = 0; i < in; ++i) {
      double g = 0;
      for (int64_t b = 0; b < batch; ++b) g += d[b * out + o] * x[b * in + i];
      int64_t k = o * in + i;
      update(g, *scalars, w[k], m[k], v[k]);
      if (shadow) shadow[k] = w[k];
    }
}

}  // namespace eelsvae
