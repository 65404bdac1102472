#include "kernels/cuda/definition.h"

#include "tests/kernels/backend_test.h"
#include "tests/kernels/emulated_stream.h"

namespace eelsvae {
namespace {

using emulated::ConvolutionPass;
using emulated::Math;

struct DefinitionTest : testing::TestWithParam<Math> {
  void SetUp() override {
    const Math math = GetParam();
    backend_ = make_backend("emulated", math == Math::bf16 ? "bf16" : math == Math::tf32 ? "tf32" : "fp32");
  }
  cudaStream_t stream() const { return stream_of(*backend_); }
  std::unique_ptr<Backend> backend_;
};

const Conv3dProblem problems[] = {
    // batch, in, in_channels, out_channels, kernel, stride, padding
    {2, {4, 3, 10}, 3, 6, {3, 3, 5}, {1, 1, 2}, {1, 1, 2}},
    {1, {5, 6, 7}, 4, 2, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}},
    {1, {2, 2, 9}, 1, 8, {1, 2, 3}, {1, 2, 3}, {0, 1, 0}},
    {1, {4, 8, 640}, 1, 2, {1, 1, 3}, {1, 1, 1}, {0, 0, 1}},  // a weight's gradient is the work of two warps
};
constexpr ConvolutionPass passes[] = {ConvolutionPass::forward, ConvolutionPass::backward_data,
                                      ConvolutionPass::backward_weights};

// The tensors of a request on the emulated device.
struct Tensors {
  Tensors(Backend& backend, const emulated::ConvolutionRequest& r)
      : type(emulated::storage_of(r.math)),
        x(backend, type, random_normal(r.problem.x_count(), 1, 1)),
        w(backend, type, random_normal(r.problem.weight_count(), 1, 2)),
        y(backend, type, random_normal(r.problem.y_count(), 1, 3)),
        bias(backend, type, random_normal(r.problem.out_channels, 1, 4)),
        written(r.pass == ConvolutionPass::forward         ? y
                : r.pass == ConvolutionPass::backward_data ? x
                                                           : w),
        tensors{x.data(), w.data(), y.data(), bias.data()} {}
  DType type;
  DeviceArray x, w, y, bias;
  DeviceArray& written;
  emulated::ConvolutionTensors tensors;
};

// The library's stand-in of the emulated device has its own loops.
TEST_P(DefinitionTest, IsWhatALibraryComputes) {
  for (const Conv3dProblem& problem : problems)
    for (ConvolutionPass pass : passes)
      for (bool rectified : {false, true}) {
        if (rectified && pass != ConvolutionPass::forward) continue;
        const emulated::ConvolutionRequest request = {problem, pass, GetParam(), rectified, rectified};
        Tensors by_definition(*backend_, request), by_library(*backend_, request);
        emulated::convolution_by_definition(request)->run(stream(), by_definition.tensors, nullptr);
        emulated::convolution_plans(request, {}, 0).at(0)->run(stream(), by_library.tensors, nullptr);
        EXPECT_TRUE(close(by_definition.written.download(), by_library.written.download(),
                          tolerance_of(backend_->precision()).operation));
      }
}

TEST_P(DefinitionTest, ASampleShowsWrongResults) {
  for (const Conv3dProblem& problem : problems)
    for (ConvolutionPass pass : passes) {
      const emulated::ConvolutionRequest request = {problem, pass, GetParam()};
      Tensors t(*backend_, request);
      emulated::convolution_plans(request, {}, 0).at(0)->run(stream(), t.tensors, nullptr);
      EXPECT_NO_THROW(emulated::expect_right(stream(), request, t.tensors, "it"));
      Values wrong = t.written.download();
      std::rotate(wrong.begin(), wrong.begin() + 1, wrong.end());
      t.written.upload(wrong);
      EXPECT_THROW(emulated::expect_right(stream(), request, t.tensors, "it"), std::runtime_error);
      std::fill(wrong.begin(), wrong.end(), std::nan(""));
      t.written.upload(wrong);
      EXPECT_THROW(emulated::expect_right(stream(), request, t.tensors, "it"), std::runtime_error);
    }
}

TEST_P(DefinitionTest, ASampleShowsWrongProducts) {
  for (bool transposed : {false, true}) {
    const emulated::MatrixProductRequest request = {3, 5, 40, transposed, GetParam()};
    const DType type = backend_->storage_type();
    DeviceArray a(*backend_, type, random_normal(3 * 40, 1, 1)),
        b(*backend_, type, random_normal(5 * 40, 1, 2)), c(*backend_, type, 15);
    emulated::matrix_products(request, 0).at(0)->run(stream(), a.data(), b.data(), c.data(), nullptr);
    auto error = [&] { return emulated::sampled_error(stream(), request, {a.data(), b.data(), c.data()}); };
    EXPECT_LT(error(), tolerance_of(backend_->precision()).operation);
    Values wrong = c.download();
    std::rotate(wrong.begin(), wrong.begin() + 5, wrong.end());
    c.upload(wrong);
    EXPECT_GT(error(), 0.1);
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, DefinitionTest, testing::Values(Math::fp32, Math::tf32, Math::bf16),
                         [](const auto& math) {
                           return math.param == Math::fp32   ? "fp32"
                                  : math.param == Math::tf32 ? "tf32"
                                                             : "bf16";
                         });

}  // namespace
}  // namespace eelsvae
