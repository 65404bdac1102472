#include "kernels/cpu/streams.h"
#include "tests/kernels/backend_test.h"

namespace eelsvae {
namespace {

// batch, in, in_channels, out_channels, kernel, stride, padding
const std::vector<Conv3dProblem> problems = {
    // An array that is written past the caches, and one whose rows start anywhere.
    {2, {12, 9, 1312}, 1, 32, {1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
    {1, {10, 9, 800}, 1, 61, {1, 1, 7}, {1, 1, 1}, {0, 0, 3}},
    // Channels that fill one vector, one and a half, and a few with an end.
    {1, {2, 3, 150}, 1, 16, {1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
    {2, {1, 3, 151}, 1, 24, {1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
    {1, {2, 2, 149}, 1, 77, {1, 1, 5}, {1, 1, 3}, {0, 0, 2}},
    {1, {1, 1, 40}, 1, 600, {1, 1, 3}, {1, 1, 1}, {0, 0, 1}},
    // More taps than are summed at a time; steps beyond the taps; more zeros than taps; no zeros.
    {1, {1, 2, 203}, 1, 32, {1, 1, 19}, {1, 1, 1}, {0, 0, 9}},
    {1, {2, 1, 97}, 1, 8, {1, 1, 2}, {1, 1, 5}, {0, 0, 0}},
    {1, {2, 2, 31}, 1, 20, {1, 1, 3}, {1, 1, 2}, {0, 0, 7}},
    {3, {1, 2, 700}, 1, 5, {1, 1, 8}, {1, 1, 4}, {0, 0, 0}},
    {1, {1, 1, 9}, 1, 3, {1, 1, 9}, {1, 1, 70}, {0, 0, 0}},
};

struct Results {
  Values y, x, w;
};

Results run(Backend& backend, const Conv3dProblem& p, const Values& x, const Values& y, const Values& w,
            const Values& bias) {
  const DType activation = backend.storage_type(), master = backend.master_type();
  const auto conv = backend.make_conv3d(p, /*transposed=*/false, true, Passes::training),
             transposed = backend.make_conv3d(p, /*transposed=*/true, true, Passes::forward);
  DeviceArray ax(backend, activation, x), ay(backend, activation, y), aw(backend, master, w),
      y_bias(backend, master, bias), x_bias(backend, master, Values(1, bias[0]));
  DeviceArray new_x(backend, activation, p.x_count()), new_y(backend, activation, p.y_count()),
      dw(backend, master, p.weight_count());
  DeviceBytes packed(backend, std::max(conv->packed_bytes(), transposed->packed_bytes())),
      workspace(backend, std::max(conv->workspace_bytes(), transposed->workspace_bytes()));
  conv->pack(aw, packed.data(), workspace.data());
  conv->forward(ax, packed.data(), y_bias, new_y, workspace.data());
  conv->backward_weights(ax, ay, dw, workspace.data());
  transposed->pack(aw, packed.data(), workspace.data());
  transposed->forward(ay, packed.data(), x_bias, new_x, workspace.data());
  return {new_y.download(), new_x.download(), dw.download()};
}

class CpuOuterConvTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Precisions, CpuOuterConvTest, testing::Values("fp32", "bf16"),
                         [](const auto& precision) { return precision.param; });

TEST_P(CpuOuterConvTest, RandomNumbersAreClose) {
  std::unique_ptr<Backend> backend, reference = make_backend("reference", "auto");
  try {
    backend = make_backend("cpu", GetParam());
  } catch (const UserError& error) {
    GTEST_SKIP() << error.what();
  }
  const double tolerance = tolerance_of(GetParam()).operation;
  const DType storage = backend->storage_type();
  EXPECT_GT(static_cast<size_t>(problems[0].y_count()) * size_of(storage), cpu::stream_bytes);
  EXPECT_GT(static_cast<size_t>(problems[1].y_count()) * size_of(storage), cpu::stream_bytes);
  for (const Conv3dProblem& p : problems) {
    SCOPED_TRACE(testing::Message() << p.in.e << " energies, " << p.out_channels << " channels, "
                                    << p.kernel.e << " taps");
    const Values x = rounded(random_normal(p.x_count(), 1, 1), storage),
                 y = rounded(random_normal(p.y_count(), 1, 2), storage),
                 w = rounded(random_normal(p.weight_count(), 0.2, 3), storage),
                 bias = rounded(random_normal(p.out_channels, 0.3, 4), DType::f32);
    const Results expected = run(*reference, p, x, y, w, bias), actual = run(*backend, p, x, y, w, bias);
    EXPECT_TRUE(close(actual.y, expected.y, tolerance)) << "forward";
    EXPECT_TRUE(close(actual.x, expected.x, tolerance)) << "transposed";
    EXPECT_TRUE(close(actual.w, expected.w, tolerance)) << "weight gradient";
  }
}

// A number that is none spreads to what sees it, and no further.
TEST_P(CpuOuterConvTest, NotANumberStays) {
  std::unique_ptr<Backend> backend;
  try {
    backend = make_backend("cpu", GetParam());
  } catch (const UserError& error) {
    GTEST_SKIP() << error.what();
  }
  const Conv3dProblem p = {1, {1, 1, 40}, 1, 5, {1, 1, 3}, {1, 1, 2}, {0, 0, 1}};
  Values x(40, 1.0), y(100, 1.0);
  x[10] = y[50] = std::nan("");
  const Results passes = run(*backend, p, x, y, Values(15, 1.0), Values(5, 0.0));
  for (size_t i = 0; i < 100; ++i) EXPECT_EQ(std::isnan(passes.y[i]), i / 5 == 5) << i;
  for (size_t i = 0; i < 40; ++i) EXPECT_EQ(std::isnan(passes.x[i]), i >= 19 && i <= 21) << i;
}

}  // namespace
}  // namespace eelsvae
