#include "kernels/bias_relu.h"

#include "tests/kernels/backend_test.h"

namespace eelsvae {
namespace {

struct Size {
  int64_t rows, channels;
};
const std::vector<Size> sizes = {{1, 1},    {1, 7},     {7, 1},     {5, 3},      {100, 32},
                                 {33, 5},   {9, 256},   {1000, 3},  {20011, 16}, {50021, 1},
                                 {70, 600}, {500, 129}, {3000, 200}};

class BiasReluTest : public BackendTest {};
EELSVAE_FOR_EACH_BACKEND(BiasReluTest);

Values forward(Backend& backend, Size size, const Values& y, const Values& bias, bool relu) {
  DeviceArray array(backend, backend.storage_type(), y), bias_array(backend, backend.master_type(), bias);
  backend.bias_relu(size.rows, size.channels, bias_array, relu, array);
  return array.download();
}

struct Gradients {
  Values gradient, bias_gradient;
};
Gradients backward(Backend& backend, Size size, const Values& y, const Values& gradient, bool relu) {
  DType activation = backend.storage_type();
  DeviceArray y_array(backend, activation, y), gradient_array(backend, activation, gradient);
  DeviceArray bias_gradient(backend, backend.master_type(), size.channels);
  backend.bias_relu_backward(size.rows, size.channels, relu ? ConstArray(y_array) : ConstArray{}, relu,
                             gradient_array, bias_gradient);
  return {gradient_array.download(), bias_gradient.download()};
}

TEST_P(BiasReluTest, SmallIntegersAreExact) {
  for (Size size : sizes)
    for (bool relu : {false, true}) {
      SCOPED_TRACE(testing::Message()
                   << size.rows << " rows, " << size.channels << " channels" << (relu ? ", ReLU" : ""));
      Values y = random_integers(size.rows * size.channels, 20, 1),
             bias = random_integers(size.channels, 20, 2);
      Values expected = forward(reference(), size, y, bias, relu);
      EXPECT_TRUE(equal(forward(backend(), size, y, bias, relu), expected));

      Values gradient = random_integers(size.rows * size.channels, 3, 3);
      Gradients wanted = backward(reference(), size, expected, gradient, relu);
      Gradients got = backward(backend(), size, expected, gradient, relu);
      EXPECT_TRUE(equal(got.gradient, wanted.gradient));
      EXPECT_TRUE(equal(got.bias_gradient, wanted.bias_gradient));
    }
}

TEST_P(BiasReluTest, RandomNumbersAreClose) {
  for (Size size : sizes) {
    SCOPED_TRACE(testing::Message() << size.rows << " rows, " << size.channels << " channels");
    int64_t count = size.rows * size.channels;
    Values y = rounded(random_normal(count, 1, 1), activation());
    Values bias = rounded(random_normal(size.channels, 1, 2), master());
    EXPECT_TRUE(close(forward(backend(), size, y, bias, true), forward(reference(), size, y, bias, true),
                      tolerance()));

    // A mean apart from zero, so that the sum over many rows is not all cancellation.
    Values gradient = random_normal(count, 1, 3);
    for (double& g : gradient) g += 0.5;
    gradient = rounded(gradient, activation());
    Gradients wanted = backward(reference(), size, y, gradient, true);
    Gradients got = backward(backend(), size, y, gradient, true);
    EXPECT_TRUE(equal(got.gradient, wanted.gradient)) << "a mask rounds nothing";
    EXPECT_TRUE(close(got.bias_gradient, wanted.bias_gradient, master_tolerance()));
    EXPECT_TRUE(equal(backward(backend(), size, y, gradient, true).bias_gradient, got.bias_gradient))
        << "the same call twice";
  }
}

TEST_P(BiasReluTest, AnExampleByHand) {
  Size size = {3, 2};
  EXPECT_TRUE(equal(forward(backend(), size, {1, -2, 3, 4, -5, 6}, {1, -4}, true), {2, 0, 4, 0, 0, 2}));
  EXPECT_TRUE(equal(forward(backend(), size, {1, -2, 3, 4, -5, 6}, {1, -4}, false), {2, -6, 4, 0, -4, 2}));
  // The gradient at y = 0 is 0, and the bias sees it after the mask.
  Gradients masked = backward(backend(), size, {2, 0, 4, 0, 0, 2}, {1, 2, 3, 4, 5, 6}, true);
  EXPECT_TRUE(equal(masked.gradient, {1, 0, 3, 0, 0, 6}));
  EXPECT_TRUE(equal(masked.bias_gradient, {4, 6}));
  // Without ReLU y is not looked at and may be null.
  Gradients all = backward(backend(), size, {2, 0, 4, 0, 0, 2}, {1, 2, 3, 4, 5, 6}, false);
  EXPECT_TRUE(equal(all.gradient, {1, 2, 3, 4, 5, 6}));
  EXPECT_TRUE(equal(all.bias_gradient, {9, 12}));
}

}  // namespace
}  // namespace eelsvae
