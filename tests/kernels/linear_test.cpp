#include "kernels/linear.h"

#include "tests/kernels/backend_test.h"

namespace eelsvae {

std::ostream& operator<<(std::ostream& stream, const LinearProblem& p) {
  return stream << "batch " << p.batch << ", " << p.in << " -> " << p.out;
}

namespace {

const std::vector<LinearProblem> problems = {
    // batch, in, out
    {1, 1, 1},
    {1, 7, 3},
    {3, 5, 7},
    {2, 1, 9},
    {2, 9, 1},
    {1, 1536, 64},
    {1, 64, 1536},
    {4, 1536, 64},
    {4, 64, 96},
    {1, 48, 64},
    {7, 64, 48},
    {16, 129, 33},
    {33, 65, 31},
    {1, 4099, 17},
    {2, 17, 4099},
    // Multiples of 32, with ends of every block.
    {8, 512, 288},
    {17, 96, 544},
    {5, 1120, 64},
};
// So many inputs that their sum is split.
const std::vector<LinearProblem> long_problems = {
    {1, 65536, 9}, {3, 65601, 7}, {9, 65568, 288}, {17, 65536, 32}};

struct Inputs {
  Values x, weights, bias, y_gradient;
};
struct Outputs {
  Values y, x_gradient;
};

Outputs run(Backend& backend, const LinearProblem& p, const Inputs& inputs, bool relu) {
  DType activation = backend.storage_type(), master = backend.master_type();
  std::unique_ptr<Linear> linear = backend.make_linear(p, Passes::training);
  DeviceArray x(backend, activation, inputs.x), weights(backend, activation, inputs.weights),
      bias(backend, master, inputs.bias), y_gradient(backend, activation, inputs.y_gradient);
  DeviceArray y(backend, activation, p.batch * p.out), x_gradient(backend, activation, p.batch * p.in);
  DeviceBytes w1(backend, linear->workspace_bytes()), w2(backend, linear->workspace_bytes());
  linear->forward(x, weights, bias, relu, y, w1.data());
  linear->backward_data(y_gradient, weights, x_gradient, w2.data());
  backend.synchronize();
  return {y.download(), x_gradient.download()};
}

Inputs random_inputs(const LinearProblem& p, const Backend& backend) {
  DType activation = backend.storage_type();
  return {rounded(random_normal(p.batch * p.in, 1, 1), activation),
          rounded(random_normal(p.in * p.out, 1 / std::sqrt(static_cast<double>(p.in)), 2), activation),
          rounded(random_normal(p.out, 0.3, 3), backend.master_type()),
          rounded(random_normal(p.batch * p.out, 1, 4), activation)};
}

class LinearTest : public BackendTest {};
EELSVAE_FOR_EACH_BACKEND(LinearTest);

TEST_P(LinearTest, SmallIntegersAreExact) {
  int largest = activation() == DType::bf16 ? 1 : 3;
  for (const LinearProblem& p : problems)
    for (bool relu : {false, true}) {
      SCOPED_TRACE(testing::Message() << p << (relu ? ", ReLU" : ""));
      Inputs inputs = {random_integers(p.batch * p.in, largest, 1), random_integers(p.in * p.out, largest, 2),
                       random_integers(p.out, 3, 3), random_integers(p.batch * p.out, largest, 4)};
      Outputs expected = run(reference(), p, inputs, relu);
      ASSERT_TRUE(equal(rounded(expected.y, activation()), expected.y)) << "test is not exact";
      ASSERT_TRUE(equal(rounded(expected.x_gradient, activation()), expected.x_gradient))
          << "test is not exact";
      Outputs actual = run(backend(), p, inputs, relu);
      EXPECT_TRUE(equal(actual.y, expected.y)) << "y";
      EXPECT_TRUE(equal(actual.x_gradient, expected.x_gradient)) << "x gradient";
    }
}

TEST_P(LinearTest, RandomNumbersAreClose) {
  for (const LinearProblem& p : problems)
    for (bool relu : {false, true}) {
      SCOPED_TRACE(testing::Message() << p << (relu ? ", ReLU" : ""));
      Inputs inputs = random_inputs(p, backend());
      Outputs expected = run(reference(), p, inputs, relu);
      Outputs actual = run(backend(), p, inputs, relu);
      EXPECT_TRUE(close(actual.y, expected.y, tolerance())) << "y";
      EXPECT_TRUE(close(actual.x_gradient, expected.x_gradient, tolerance())) << "x gradient";
    }
}

TEST_P(LinearTest, LongSumsAreClose) {
  for (const LinearProblem& p : long_problems) {
    SCOPED_TRACE(testing::Message() << p);
    Inputs inputs = random_inputs(p, backend());
    Outputs expected = run(reference(), p, inputs, true);
    Outputs actual = run(backend(), p, inputs, true);
    EXPECT_TRUE(close(actual.y, expected.y, tolerance())) << "y";
    EXPECT_TRUE(close(actual.x_gradient, expected.x_gradient, tolerance())) << "x gradient";
  }
}

TEST_P(LinearTest, TheSameCallTwiceGivesTheSameBits) {
  for (const LinearProblem& p : problems) {
    SCOPED_TRACE(testing::Message() << p);
    Inputs inputs = random_inputs(p, backend());
    Outputs first = run(backend(), p, inputs, true), second = run(backend(), p, inputs, true);
    EXPECT_TRUE(equal(second.y, first.y));
    EXPECT_TRUE(equal(second.x_gradient, first.x_gradient));
  }
}

// What is made for the forward pass alone computes the same, needs no more memory, and refuses to go back.
TEST_P(LinearTest, MadeForTheForwardPassItGivesTheSameBits) {
  for (const LinearProblem& p : problems) {
    SCOPED_TRACE(testing::Message() << p);
    const std::unique_ptr<Linear> forward = backend().make_linear(p, Passes::forward);
    EXPECT_LE(forward->workspace_bytes(), backend().make_linear(p, Passes::training)->workspace_bytes());
    const Inputs inputs = random_inputs(p, backend());
    DeviceArray x(backend(), activation(), inputs.x), weights(backend(), activation(), inputs.weights),
        bias(backend(), master(), inputs.bias), y(backend(), activation(), p.batch * p.out);
    DeviceBytes workspace(backend(), forward->workspace_bytes());
    forward->forward(x, weights, bias, true, y, workspace.data());
    EXPECT_TRUE(equal(y.download(), run(backend(), p, inputs, true).y));
    EXPECT_THROW(forward->backward_data(y, weights, x, workspace.data()), std::logic_error);
  }
}

TEST_P(LinearTest, AnExampleByHand) {
  // w = [[1, 2, 3], [-4, -5, -6]]
  Inputs inputs = {{1, 0, 2, /**/ 0, 1, 0}, {1, 2, 3, -4, -5, -6}, {10, 20}, {1, 0, /**/ 2, -1}};
  Outputs plain = run(backend(), {2, 3, 2}, inputs, false);
  EXPECT_TRUE(equal(plain.y, {17, 4, /**/ 12, 15}));
  EXPECT_TRUE(equal(plain.x_gradient, {1, 2, 3, /**/ 6, 9, 12}));
  inputs.bias = {-15, 3};
  EXPECT_TRUE(equal(run(backend(), {2, 3, 2}, inputs, true).y, {0, 0, /**/ 0, 0}));
}

}  // namespace
}  // namespace eelsvae
