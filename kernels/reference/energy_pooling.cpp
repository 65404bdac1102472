#include "kernels/energy_pooling.h"

#include <algorithm>
#include <cmath>

#include "kernels/reference/reference_backend.h"

namespace eelsvae {

void ReferenceBackend::energy_pooling(int64_t batch, int64_t positions, int64_t channels, ConstArray x_array,
                                      Array y_array) {
  const double* x = elements(x_array, batch * positions * channels);
  double* y = elements(y_array, batch * 2 * channels);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t c = 0; c < channels; ++c) {
      auto at = [&](int64_t p) { return x[(b * positions + p) * channels + c]; };
      double largest = at(0), sum = 0, total = 0;
      for (int64_t p = 1; p < positions; ++p) largest = std::max(largest, at(p));
      for (int64_t p = 0; p < positions; ++p) {
        sum += std::exp(at(p) - largest);
        total += at(p);
      }
      y[b * 2 * channels + c] =
          largest + std::log(sum);  // cppcheck-suppress invalidFunctionArg ; the largest gives a term of 1
      y[b * 2 * channels + channels + c] = total / static_cast<double>(positions);
    }
}

void ReferenceBackend::energy_pooling_backward(int64_t batch, int64_t positions, int64_t channels,
                                               ConstArray x_array, ConstArray y_array, ConstArray y_gradient,
                                               Array x_gradient) {
  const double* x = elements(x_array, batch * positions * channels);
  const double* y = elements(y_array, batch * 2 * channels);
  const double* dy = elements(y_gradient, batch * 2 * channels);
  double* dx = elements(x_gradient, batch * positions * channels);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t p = 0; p < positions; ++p)
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t i = (b * positions + p) * channels + c, lse = b * 2 * channels + c,
                      mean = lse + channels;
        dx[i] = std::exp(x[i] - y[lse]) * dy[lse] + dy[mean] / static_cast<double>(positions);
      }
}

}  // namespace eelsvae
