#include "kernels/linear.h"

#include "kernels/reference/reference_backend.h"

namespace eelsvae {
namespace {

class ReferenceLinear final : public Linear {
 public:
  ReferenceLinear(const LinearProblem& problem, Passes passes) : problem_(problem), passes_(passes) {}

  size_t workspace_bytes() const override { return 0; }

  void forward(ConstArray x_array, ConstArray weights, ConstArray bias_array, bool relu, Array y_array,
               void*) override {
    int64_t batch = problem_.batch, in = problem_.in, out = problem_.out;
    const double* x = elements(x_array, batch * in);
    const double* w = elements(weights, in * out);
    const double* bias = elements(bias_array, out);
    double* y = elements(y_array, batch * out);
#pragma omp parallel for
    for (int64_t o = 0; o < out; ++o)
      for (int64_t b = 0; b < batch; ++b) {
        double sum = bias[o];
        for (int64_t i = 0; i < in; ++i) sum += x[b * in + i] * w[o * in + i];
        y[b * out + o] = relu && sum < 0 ? 0 : sum;
      }
  }

  void backward_data(ConstArray y_gradient, ConstArray weights, Array x_gradient, void*) override {
    expect_training(passes_);
    int64_t batch = problem_.batch, in = problem_.in, out = problem_.out;
    const double* dy = elements(y_gradient, batch * out);
    const double* w = elements(weights, in * out);
    double* dx = elements(x_gradient, batch * in);
#pragma omp parallel for
    for (int64_t i = 0; i < in; ++i)
      for (int64_t b = 0; b < batch; ++b) {
        double sum = 0;
        for (int64_t o = 0; o < out; ++o) sum += dy[b * out + o] * w[o * in + i];
        dx[b * in + i] = sum;
      }
  }

 private:
  LinearProblem problem_;
  Passes passes_;
};

}  // namespace

std::unique_ptr<Linear> ReferenceBackend::make_linear(const LinearProblem& problem, Passes passes) {
  return std::make_unique<ReferenceLinear>(problem, passes);
}

}  // namespace eelsvae
