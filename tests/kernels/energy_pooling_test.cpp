#include "kernels/energy_pooling.h"

#include "tests/kernels/backend_test.h"

namespace eelsvae {
namespace {

struct Size {
  int64_t batch, positions, channels;
};
const std::vector<Size> sizes = {{1, 1, 1}, {3, 17, 5}, {2, 100, 32}, {5, 3, 130}};

Values forward(Backend& backend, Size size, const Values& x) {
  DeviceArray array(backend, backend.storage_type(), x),
      y(backend, backend.storage_type(), size.batch * 2 * size.channels);
  backend.energy_pooling(size.batch, size.positions, size.channels, array, y);
  return y.download();
}

Values backward(Backend& backend, Size size, const Values& x, const Values& y, const Values& dy) {
  const DType type = backend.storage_type();
  DeviceArray array(backend, type, x), pooled(backend, type, y), slope(backend, type, dy),
      dx(backend, type, size.batch * size.positions * size.channels);
  backend.energy_pooling_backward(size.batch, size.positions, size.channels, array, pooled, slope, dx);
  return dx.download();
}

Values random_maps(Size size, double scale) {
  return random_normal(size.batch * size.positions * size.channels, scale, 1);
}

class EnergyPoolingTest : public BackendTest {};
EELSVAE_FOR_EACH_BACKEND(EnergyPoolingTest);

TEST_P(EnergyPoolingTest, ConstantMapsGiveTheirValue) {
  const int64_t positions = 8;
  const Values y = forward(backend(), {1, positions, 2}, Values(static_cast<size_t>(2 * positions), 0.5));
  EXPECT_TRUE(close(y, {0.5 + std::log(8.0), 0.5 + std::log(8.0), 0.5, 0.5}, tolerance()));
}

// Values beyond what exp can be taken of.
TEST_P(EnergyPoolingTest, LargeValuesDoNotOverflow) {
  EXPECT_TRUE(close(forward(backend(), {1, 3, 1}, {-500, 300, 200}), {300, 0}, tolerance()));
}

TEST_P(EnergyPoolingTest, ForwardAndBackwardMatchTheReference) {
  for (const Size size : sizes) {
    SCOPED_TRACE(testing::Message() << size.batch << " x " << size.positions << " x " << size.channels);
    const Values x = rounded(random_maps(size, 3), activation());
    const Values y = forward(reference(), size, x);
    EXPECT_TRUE(close(forward(backend(), size, x), y, tolerance()));
    const Values pooled = rounded(y, activation()),
                 dy = rounded(random_normal(size.batch * 2 * size.channels, 1, 2), activation());
    EXPECT_TRUE(close(backward(backend(), size, x, pooled, dy), backward(reference(), size, x, pooled, dy),
                      tolerance()));
  }
}

TEST(EnergyPoolingReference, BackwardMatchesFiniteDifferences) {
  const std::unique_ptr<Backend> reference = make_backend("reference", "auto");
  for (const Size size : {Size{1, 1, 1}, {3, 17, 5}, {5, 3, 13}}) {
    const Values x = random_maps(size, 1), dy = random_normal(size.batch * 2 * size.channels, 1, 2);
    const auto value = [&](const Values& at) { return dot(forward(*reference, size, at), dy); };
    // Central differences of step h are off by h^2 and by the value's roundoff over h.
    EXPECT_TRUE(close(backward(*reference, size, x, forward(*reference, size, x), dy),
                      finite_differences(value, x, 1e-5), 1e-7));
  }
}

}  // namespace
}  // namespace eelsvae
