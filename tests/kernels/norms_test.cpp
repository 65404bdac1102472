#include "kernels/norms.h"

#include "tests/kernels/backend_test.h"

namespace eelsvae {
namespace {

double squared_norm(Backend& backend, const Values& values) {
  DeviceArray array(backend, backend.master_type(), values), result(backend, DType::f64, 1);
  backend.squared_norm(array, result);
  return result.download()[0];
}

double squared_norm_outer_product(Backend& backend, int64_t batch, int64_t in, int64_t out, const Values& x,
                                  const Values& d) {
  DeviceArray x_array(backend, backend.storage_type(), x), d_array(backend, backend.storage_type(), d),
      result(backend, DType::f64, 1);
  DeviceBytes workspace(backend, backend.outer_product_workspace_bytes(batch));
  backend.squared_norm_outer_product(batch, in, out, x_array, d_array, result, workspace.data());
  return result.download()[0];
}

struct Clipped {
  double norm;
  StepScalars scalars;
};
Clipped clip(Backend& backend, const Values& squares, double limit) {
  DeviceArray array(backend, DType::f64, squares), norm(backend, DType::f64, 1);
  StepScalars scalars;
  scalars.seed = 5;
  scalars.learning_rate = 0.25;
  scalars.gradient_scale = -1;
  DeviceScalars device_scalars(backend, scalars);
  backend.clip(array, limit, norm, device_scalars);
  return {norm.download()[0], device_scalars.download()};
}

class NormsTest : public BackendTest {};
EELSVAE_FOR_EACH_BACKEND(NormsTest);

TEST_P(NormsTest, SquaredNorm) {
  for (int64_t count : {1, 2, 7, 16, 1000, 4099, 200003}) {
    SCOPED_TRACE(count);
    Values integers = random_integers(count, 3, 1);
    EXPECT_EQ(squared_norm(backend(), integers), dot(integers, integers));
    Values values = rounded(random_normal(count, 1e-3, 2), master());
    double expected = dot(values, values);
    EXPECT_NEAR(squared_norm(backend(), values), expected, master_tolerance() * expected);
    EXPECT_EQ(squared_norm(backend(), values), squared_norm(backend(), values)) << "the same call twice";
  }
}

struct Factors {
  int64_t batch, in, out;
};
const std::vector<Factors> factors = {{1, 1, 1},    {1, 7, 3},    {3, 5, 7},    {2, 2049, 3},
                                      {8, 512, 33}, {17, 65, 40}, {64, 48, 96}, {2, 3, 5003}};

TEST_P(NormsTest, SquaredNormOfAnOuterProduct) {
  for (auto [batch, in, out] : factors) {
    SCOPED_TRACE(testing::Message() << "batch " << batch << ", " << in << " -> " << out);
    Values x = random_integers(batch * in, 2, 1), d = random_integers(batch * out, 2, 2);
    EXPECT_EQ(squared_norm_outer_product(backend(), batch, in, out, x, d),
              squared_norm_outer_product(reference(), batch, in, out, x, d));
    // Activations after a ReLU, and gradients as small as they are in training.
    x = rounded(random_normal(batch * in, 1, 3), activation());
    for (double& value : x) value = value > 0 ? value : 0;
    d = rounded(random_normal(batch * out, 1e-4, 4), activation());
    double expected = squared_norm_outer_product(reference(), batch, in, out, x, d);
    double actual = squared_norm_outer_product(backend(), batch, in, out, x, d);
    EXPECT_NEAR(actual, expected, master_tolerance() * expected);
    EXPECT_EQ(squared_norm_outer_product(backend(), batch, in, out, x, d), actual) << "the same call twice";
  }
}

// Three samples of the same x whose gradients cancel: the true norm is almost 0, and rounding in the Gram
// matrices must not make it the root of a negative number.
TEST_P(NormsTest, CancellingGradientsHaveANorm) {
  int64_t in = 1001, out = 777;
  Values row = rounded(random_normal(in, 1, 1), activation()), x, d = random_normal(2 * out, 1, 2);
  for (int b = 0; b < 3; ++b) x.insert(x.end(), row.begin(), row.end());
  d = rounded(d, activation());
  for (size_t o = 0; o < static_cast<size_t>(out); ++o)
    d.push_back(-(d[o] + d[o + static_cast<size_t>(out)]));
  d = rounded(d, activation());
  double square = squared_norm_outer_product(backend(), 3, in, out, x, d);
  double expected = squared_norm_outer_product(reference(), 3, in, out, x, d);
  EXPECT_NEAR(square, expected, master_tolerance() * 3 * dot(row, row) * dot(d, d));
  Clipped clipped = clip(backend(), {square}, 1);
  EXPECT_GE(clipped.norm, 0);
  EXPECT_GE(clipped.scalars.gradient_scale, 0);
}

TEST_P(NormsTest, ClipScalesTheGradientToTheLimit) {
  struct {
    Values squares;
    double limit, norm, scale;
  } cases[] = {
      {{9, 16}, 2.5, 5, 2.5 / (5 + 1e-6)},  // above the limit
      {{9, 16}, 5, 5, 5 / (5 + 1e-6)},      // at the limit: PyTorch's epsilon counts
      {{9, 16}, 7, 5, 1},                   // below
      {{9, 16}, 0, 5, 1},                   // no limit
      {{0}, 3.53, 0, 1},                    // no gradient
      {{0, 1e-30, 0}, 3.53, 1e-15, 1},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(testing::Message() << "norm " << c.norm << ", limit " << c.limit);
    Clipped clipped = clip(backend(), c.squares, c.limit);
    EXPECT_DOUBLE_EQ(clipped.norm, c.norm);
    EXPECT_DOUBLE_EQ(clipped.scalars.gradient_scale, c.scale);
    EXPECT_EQ(clipped.scalars.seed, 5u);
    EXPECT_EQ(clipped.scalars.learning_rate, 0.25);
  }
}

TEST(ClipFactor, IsThatOfPyTorch) {
  EXPECT_EQ(clip_factor(5, 0), 1);
  EXPECT_EQ(clip_factor(0, 3.53), 1);
  EXPECT_EQ(clip_factor(3, 3.53), 1);
  EXPECT_DOUBLE_EQ(clip_factor(10, 3.53), 3.53 / (10 + 1e-6));
  EXPECT_EQ(clip_factor(INFINITY, 3.53), 0);
}

}  // namespace
}  // namespace eelsvae
