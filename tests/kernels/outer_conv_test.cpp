#include "kernels/cuda/outer_conv.h"

#include "tests/kernels/backend_test.h"
#include "tests/kernels/emulated_stream.h"

namespace eelsvae {
namespace {

struct Inputs {
  Values x, y, w, y_bias, x_bias;
};
struct Outputs {
  Values y, x, w;
};

std::string text(const Conv3dProblem& p) {
  return std::to_string(p.batch) + " of " + std::to_string(p.in.h) + "x" + std::to_string(p.in.w) + "x" +
         std::to_string(p.in.e) + ", channels " + std::to_string(p.out_channels) + ", taps " +
         std::to_string(p.kernel.e) + ", stride " + std::to_string(p.stride.e) + ", padding " +
         std::to_string(p.padding.e);
}

Outputs run_kernels(Backend& backend, const Conv3dProblem& p, const Inputs& inputs, bool relu) {
  const DType storage = backend.storage_type();
  DeviceArray x(backend, storage, inputs.x), y(backend, storage, inputs.y), w(backend, DType::f32, inputs.w),
      y_bias(backend, DType::f32, inputs.y_bias), x_bias(backend, DType::f32, inputs.x_bias);
  DeviceArray new_x(backend, storage, p.x_count()), new_y(backend, storage, p.y_count()),
      dw(backend, DType::f32, p.weight_count());
  DeviceBytes workspace(backend, emulated::outer_workspace_bytes(p));
  auto floats = [](const DeviceArray& array) { return static_cast<const float*>(array.data()); };
  const cudaStream_t stream = stream_of(backend);
  emulated::outer_forward(stream, p, storage, x.data(), floats(w), floats(y_bias), relu, new_y.data());
  emulated::outer_backward_data(stream, p, storage, y.data(), floats(w), floats(x_bias), relu, new_x.data());
  emulated::outer_backward_weights(stream, p, storage, x.data(), y.data(), static_cast<float*>(dw.data()),
                                   workspace.data());
  return {new_y.download(), new_x.download(), dw.download()};
}

Outputs run_reference(Backend& backend, const Conv3dProblem& p, const Inputs& inputs, bool relu) {
  const DType type = DType::f64;
  DeviceArray x(backend, type, inputs.x), y(backend, type, inputs.y), w(backend, type, inputs.w),
      y_bias(backend, type, inputs.y_bias), x_bias(backend, type, inputs.x_bias);
  DeviceArray new_x(backend, type, p.x_count()), new_y(backend, type, p.y_count()),
      dw(backend, type, p.weight_count());
  auto conv = backend.make_conv3d(p, /*transposed=*/false, relu, Passes::training),
       transposed = backend.make_conv3d(p, /*transposed=*/true, relu, Passes::forward);
  conv->forward(x, w.data(), y_bias, new_y, nullptr);
  transposed->forward(y, w.data(), x_bias, new_x, nullptr);
  conv->backward_weights(x, y, dw, nullptr);
  return {new_y.download(), new_x.download(), dw.download()};
}

// batch, in, in_channels, out_channels, kernel, stride, padding
const std::vector<Conv3dProblem> problems = {
    {1, {4, 4, 32}, 1, 32, {1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
    {2, {3, 2, 1312}, 1, 32, {1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
    {1, {1, 2, 1200}, 1, 64, {1, 1, 16}, {1, 1, 1}, {0, 0, 8}},
    {1, {2, 3, 77}, 1, 4, {1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
    {1, {2, 1, 97}, 1, 12, {1, 1, 5}, {1, 1, 8}, {0, 0, 1}},
    {3, {1, 1, 16}, 1, 1, {1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
    {1, {1, 2, 600}, 1, 15, {1, 1, 3}, {1, 1, 1}, {0, 0, 0}},
    {1, {1, 1, 1}, 1, 8, {1, 1, 7}, {1, 1, 1}, {0, 0, 3}},
    {1, {2, 2, 11}, 1, 3, {1, 1, 3}, {1, 1, 4}, {0, 0, 0}},
    {1, {1, 1, 1}, 1, 1, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}},
};

class OuterConvTest : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Backend> backend = make_backend("emulated", GetParam());
  std::unique_ptr<Backend> reference = make_backend("reference", "auto");
  Inputs inputs(const Conv3dProblem& p) const {
    const DType storage = backend->storage_type();
    return {rounded(random_normal(p.x_count(), 1, 1), storage),
            rounded(random_normal(p.y_count(), 1, 2), storage),
            rounded(random_normal(p.weight_count(), 0.2, 3), DType::f32),
            rounded(random_normal(p.out_channels, 0.3, 4), DType::f32), rounded({0.3}, DType::f32)};
  }
};
INSTANTIATE_TEST_SUITE_P(Storage, OuterConvTest, testing::Values("fp32", "bf16"),
                         [](const auto& precision) { return precision.param; });

TEST_P(OuterConvTest, SmallIntegersAreExact) {
  for (const Conv3dProblem& p : problems) {
    SCOPED_TRACE(text(p));
    ASSERT_TRUE(emulated::has_outer_kernels(p));
    Inputs small = {random_integers(p.x_count(), 1, 1),
                    random_integers(p.y_count(), 1, 2),
                    random_integers(p.weight_count(), 1, 3),
                    random_integers(p.out_channels, 3, 4),
                    {2}};
    for (bool relu : {false, true}) {
      Outputs expected = run_reference(*reference, p, small, relu);
      Outputs actual = run_kernels(*backend, p, small, relu);
      EXPECT_TRUE(equal(actual.y, expected.y)) << "forward";
      EXPECT_TRUE(equal(actual.x, expected.x)) << "backward data";
      EXPECT_TRUE(equal(actual.w, expected.w)) << "backward weights";
    }
  }
}

TEST_P(OuterConvTest, RandomNumbersAreClose) {
  const double tolerance = tolerance_of(GetParam()).operation;
  for (const Conv3dProblem& p : problems) {
    SCOPED_TRACE(text(p));
    Inputs random = inputs(p);
    Outputs expected = run_reference(*reference, p, random, true);
    Outputs actual = run_kernels(*backend, p, random, true);
    EXPECT_TRUE(close(actual.y, expected.y, tolerance)) << "forward";
    EXPECT_TRUE(close(actual.x, expected.x, tolerance)) << "backward data";
    EXPECT_TRUE(close(actual.w, expected.w, tolerance_of(DType::f32).operation)) << "backward weights";
    EXPECT_TRUE(equal(run_kernels(*backend, p, random, true).w, actual.w)) << "the same call twice";
  }
}

TEST(OuterConv, OtherConvolutionsAreLeftToTheLibrary) {
  const Conv3dProblem first = problems.front();
  auto changed = [&](auto change) {
    Conv3dProblem p = first;
    change(p);
    return emulated::has_outer_kernels(p);
  };
  EXPECT_TRUE(emulated::has_outer_kernels(first));
  EXPECT_FALSE(changed([](Conv3dProblem& p) { p.in_channels = 2; }));
  EXPECT_FALSE(changed([](Conv3dProblem& p) { p.kernel.w = 3; }));
  EXPECT_FALSE(changed([](Conv3dProblem& p) { p.padding.h = 1; }));
  EXPECT_FALSE(changed([](Conv3dProblem& p) { p.stride.h = 2; }));
  EXPECT_FALSE(changed([](Conv3dProblem& p) { p.kernel.e = 17; }));
  EXPECT_FALSE(changed([](Conv3dProblem& p) { p.out_channels = 72; }));
  EXPECT_FALSE(changed([](Conv3dProblem& p) { p.out_channels = 17; }));
}

}  // namespace
}  // namespace eelsvae
