#include "kernels/bias_relu.h"

#include "kernels/reference/reference_backend.h"

namespace eelsvae {

void ReferenceBackend::bias_relu(int64_t rows, int64_t channels, ConstArray bias_array, bool relu,
                                 Array y_array) {
  const double* bias = elements(bias_array, channels);
  double* y = elements(y_array, rows * channels);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < channels; ++c) {
      double sum = y[r * channels + c] + bias[c];
      y[r * channels + c] = relu && sum < 0 ? 0 : sum;
    }
}

void ReferenceBackend::bias_relu_backward(int64_t rows, int64_t channels, ConstArray y_array, bool relu,
                                          Array gradient_array, Array bias_gradient_array) {
  const double* y = relu ? elements(y_array, rows * channels) : nullptr;
  double* gradient = elements(gradient_array, rows * channels);
  double* bias_gradient = elements(bias_gradient_array, channels);
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0;
    for (int64_t r = 0; r < rows; ++r) {
      int64_t i = r * channels + c;
      if (relu && !(y[i] > 0)) gradient[i] = 0;
      sum += gradient[i];
    }
    bias_gradient[c] = sum;
  }
}

}  // namespace eelsvae
