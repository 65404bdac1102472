#include "kernels/norms.h"

#include <algorithm>
#include <cmath>

#include "kernels/reference/reference_backend.h"

namespace eelsvae {

void ReferenceBackend::squared_norm(ConstArray values, Array result) {
  const double* value = elements(values, values.count);
  double sum = 0;
  for (int64_t i = 0; i < values.count; ++i) sum += value[i] * value[i];
  *elements(result, 1) = sum;
}

// From the gradient itself, element by element, not from the Gram matrices.
void ReferenceBackend::squared_norm_outer_product(int64_t batch, int64_t in, int64_t out, ConstArray x_array,
                                                  ConstArray d_array, Array result, void*) {
  const double* x = elements(x_array, batch * in);
  const double* d = elements(d_array, batch * out);
  double sum = 0;
  for (int64_t o = 0; o < out; ++o)
    for (int64_t i = 0; i < in; ++i) {
      double g = 0;
      for (int64_t b = 0; b < batch; ++b) g += d[b * out + o] * x[b * in + i];
      sum += g * g;
    }
  *elements(result, 1) = sum;
}

void ReferenceBackend::clip(ConstArray squares, double limit, Array norm, StepScalars* scalars) {
  const double* square = elements(squares, squares.count);
  double sum = 0;
  for (int64_t i = 0; i < squares.count; ++i) sum += square[i];
  double total = std::sqrt(sum);
  *elements(norm, 1) = total;
  scalars->gradient_scale = limit > 0 ? std::min(1.0, limit / (total + 1e-6)) : 1;
}

}  // namespace eelsvae
