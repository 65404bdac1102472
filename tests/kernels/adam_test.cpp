#include "kernels/adam.h"

#include "tests/kernels/backend_test.h"

namespace eelsvae {
namespace {

struct State {
  Values w, m, v;
};

StepScalars scalars_of_step(int step, double learning_rate, double gradient_scale) {
  StepScalars scalars;
  scalars.step = static_cast<uint64_t>(step - 1);
  scalars.learning_rate = learning_rate;
  scalars.gradient_scale = gradient_scale;
  scalars.bias_correction1 = 1 - std::pow(0.9, step);
  scalars.bias_correction2 = 1 - std::pow(0.999, step);
  return scalars;
}

// torch/optim/adam.py, _single_tensor_adam, line by line.
void torch_adam(int step, double learning_rate, double gradient_scale, const Values& gradient, State& s) {
  double bias_correction1 = 1 - std::pow(0.9, step), bias_correction2 = 1 - std::pow(0.999, step);
  double step_size = learning_rate / bias_correction1;
  for (size_t i = 0; i < gradient.size(); ++i) {
    double grad = gradient_scale * gradient[i];
    s.m[i] = s.m[i] * 0.9 + (1 - 0.9) * grad;
    s.v[i] = s.v[i] * 0.999 + (1 - 0.999) * grad * grad;
    double denominator = std::sqrt(s.v[i]) / std::sqrt(bias_correction2) + 1e-8;
    s.w[i] -= step_size * s.m[i] / denominator;
  }
}

State run_adam(Backend& backend, const StepScalars& scalars, const Values& gradient, const State& before) {
  DType master = backend.master_type();
  DeviceArray g(backend, master, gradient), w(backend, master, before.w), m(backend, master, before.m),
      v(backend, master, before.v);
  DeviceScalars device_scalars(backend, scalars);
  backend.adam(g, device_scalars, w, m, v);
  return {w.download(), m.download(), v.download()};
}

struct Updated {
  State state;
  Values shadow;
};
struct Factors {
  int64_t batch, in, out;
};
Updated run_outer_product(Backend& backend, Factors f, const StepScalars& scalars, const Values& x,
                          const Values& d, const State& before, bool with_shadow) {
  DType master = backend.master_type(), activation = backend.storage_type();
  DeviceArray x_array(backend, activation, x), d_array(backend, activation, d), w(backend, master, before.w),
      m(backend, master, before.m), v(backend, master, before.v), shadow(backend, activation, f.in * f.out);
  DeviceScalars device_scalars(backend, scalars);
  backend.adam_outer_product(f.batch, f.in, f.out, x_array, d_array, device_scalars, w, m, v,
                             with_shadow ? Array(shadow) : Array{});
  return {{w.download(), m.download(), v.download()}, with_shadow ? shadow.download() : Values{}};
}

// The change of the weights, which a comparison of the weights themselves would hardly see.
Values change(const State& before, const State& after) {
  Values difference = after.w;
  for (size_t i = 0; i < difference.size(); ++i) difference[i] -= before.w[i];
  return difference;
}

// The change that these moments, after the step, stand for.
Values change_by_moments(const StepScalars& s, const State& after) {
  Values difference = after.m;
  for (size_t i = 0; i < difference.size(); ++i)
    difference[i] *= -s.learning_rate / s.bias_correction1 /
                     (std::sqrt(after.v[i] / s.bias_correction2) + AdamConstants::epsilon);
  return difference;
}

Values squares(Values values) {
  for (double& value : values) value *= value;
  return values;
}

State random_state(int64_t count, DType master) {
  // v as it is after many steps with gradients of the size of those in the tests.
  return {rounded(random_normal(count, 0.1, 11), master), rounded(random_normal(count, 0.1, 12), master),
          rounded(squares(random_normal(count, 1, 13)), master)};
}

class AdamTest : public BackendTest {};
EELSVAE_FOR_EACH_BACKEND(AdamTest);

TEST_P(AdamTest, SeveralStepsFollowPyTorch) {
  for (int64_t count : {1, 5, 16, 1003, 70001}) {
    SCOPED_TRACE(count);
    State start = {rounded(random_normal(count, 0.1, 1), master()), Values(static_cast<size_t>(count), 0.0),
                   Values(static_cast<size_t>(count), 0.0)};
    State expected = start, actual = start;
    for (int step = 1; step <= 5; ++step) {
      Values gradient = rounded(random_normal(count, 3, 100 + static_cast<uint64_t>(step)), master());
      double learning_rate = 0.02 / step, scale = step % 2 ? 1 : 0.37;
      torch_adam(step, learning_rate, scale, gradient, expected);
      actual = run_adam(backend(), scalars_of_step(step, learning_rate, scale), gradient, actual);
    }
    EXPECT_TRUE(close(actual.m, expected.m, master_tolerance())) << "m";
    EXPECT_TRUE(close(actual.v, expected.v, master_tolerance())) << "v";
    EXPECT_TRUE(close(change(start, actual), change(start, expected), master_tolerance())) << "change of w";
  }
}

TEST_P(AdamTest, NoGradientNoChange) {
  Values zeros(100, 0.0);
  State start = {rounded(random_normal(100, 1, 1), master()), zeros, zeros};
  State after = run_adam(backend(), scalars_of_step(1, 0.1, 1), zeros, start);
  EXPECT_TRUE(equal(after.w, start.w) && equal(after.m, zeros) && equal(after.v, zeros));
}

const std::vector<Factors> factors = {{1, 1, 1},     {1, 7, 3},     {3, 5, 7},    {1, 2048, 9}, {2, 2049, 5},
                                      {8, 512, 33},  {17, 40, 16},  {4, 5003, 3}, {1, 16, 700}, {16, 132, 68},
                                      {33, 31, 130}, {71, 300, 66}, {15, 2, 3000}};

TEST_P(AdamTest, OuterProductEqualsTheExplicitGradient) {
  // Only tf32 rounds the factors of a product further than they are stored.
  const double product_tolerance = activation() == DType::bf16 ? master_tolerance() : tolerance();
  for (Factors f : factors) {
    SCOPED_TRACE(testing::Message() << "batch " << f.batch << ", " << f.in << " -> " << f.out);
    Values x = rounded(random_normal(f.batch * f.in, 1, 1), activation());
    Values d = rounded(random_normal(f.batch * f.out, 1, 2), activation());
    Values gradient(static_cast<size_t>(f.in * f.out), 0.0);
    for (int64_t b = 0; b < f.batch; ++b)
      for (int64_t o = 0; o < f.out; ++o)
        for (int64_t i = 0; i < f.in; ++i)
          gradient[static_cast<size_t>(o * f.in + i)] +=
              d[static_cast<size_t>(b * f.out + o)] * x[static_cast<size_t>(b * f.in + i)];

    State start = random_state(f.in * f.out, master());
    StepScalars scalars = scalars_of_step(3, 0.02, 0.37);
    State expected = run_adam(backend(), scalars, gradient, start);
    Updated actual = run_outer_product(backend(), f, scalars, x, d, start, true);
    EXPECT_TRUE(close(actual.state.m, expected.m, product_tolerance)) << "m";
    EXPECT_TRUE(close(actual.state.v, expected.v, product_tolerance)) << "v";
    EXPECT_TRUE(
        close(change(start, actual.state), change_by_moments(scalars, actual.state), master_tolerance()))
        << "change of w";
    EXPECT_TRUE(equal(actual.shadow, rounded(actual.state.w, activation()))) << "shadow";

    // Where v is next to nothing, the change magnifies the rounding of the factors.
    if (product_tolerance == master_tolerance()) {
      Updated reference_result = run_outer_product(reference(), f, scalars, x, d, start, true);
      EXPECT_TRUE(
          close(change(start, actual.state), change(start, reference_result.state), master_tolerance()));
    }

    Updated without_shadow = run_outer_product(backend(), f, scalars, x, d, start, false);
    EXPECT_TRUE(close(change(start, without_shadow.state), change(start, actual.state), master_tolerance()))
        << "without shadow";
  }
}

}  // namespace
}  // namespace eelsvae
