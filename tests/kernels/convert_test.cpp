#include <limits>

#include "tests/kernels/backend_test.h"

namespace eelsvae {
namespace {

Values convert(Backend& backend, DType from, DType to, const Values& values) {
  DeviceArray source(backend, from, values), destination(backend, to, static_cast<int64_t>(values.size()));
  backend.convert(source, destination);
  return destination.download();
}

// Numbers where rounding to bfloat16 (8 bits) or float (24 bits) can go wrong.
Values awkward_numbers() {
  Values values = {0.0, -0.0, 1, -1, 1.5e-39, 1e-45, 3.4e38, std::numeric_limits<float>::max(), 1e38, -1e-38};
  for (double base : {1.0, 1 + 1.0 / 128, 255.0, 3e5, -7e-20})
    for (double bits : {8, 16, 24}) {
      double half = std::ldexp(1.0, -static_cast<int>(bits));
      for (double factor : {1 + half, 1 + half + 1e-7, 1 + half - 1e-7, 1 + 3 * half, 1 - half})
        values.push_back(base * factor);
    }
  // An odd number of them, and enough for several vectors.
  Values random = random_normal(1003, 1, 1);
  values.insert(values.end(), random.begin(), random.end());
  return values;
}

class ConvertTest : public BackendTest {};
EELSVAE_FOR_EACH_BACKEND(ConvertTest);

TEST_P(ConvertTest, BetweenActivationsAndMastersRoundsToNearestEven) {
  for (DType from : {activation(), master()})
    for (DType to : {activation(), master()}) {
      SCOPED_TRACE(testing::Message() << name_of(from) << " to " << name_of(to));
      Values values = rounded(awkward_numbers(), from);
      EXPECT_TRUE(equal(convert(backend(), from, to, values), rounded(values, to)));
    }
}

TEST_P(ConvertTest, KeepsNanAndInfinity) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  Values values = {infinity, -infinity, std::numeric_limits<double>::quiet_NaN(), 1};
  for (DType from : {activation(), master()})
    for (DType to : {activation(), master()}) {
      SCOPED_TRACE(testing::Message() << name_of(from) << " to " << name_of(to));
      Values converted = convert(backend(), from, to, values);
      EXPECT_EQ(converted[0], infinity);
      EXPECT_EQ(converted[1], -infinity);
      EXPECT_TRUE(std::isnan(converted[2]));
      EXPECT_EQ(converted[3], 1);
    }
}

// The reference converts between all types, and from double to bfloat16 without rounding twice.
TEST(ConvertReference, RoundsOnce) {
  std::unique_ptr<Backend> reference = make_backend("reference", "auto");
  double ulp = 1.0 / 128, hair = std::ldexp(1.0, -40);
  // Just above and below the middle of 1 and 1 + ulp; the nearest float is the middle itself, a tie to even.
  EXPECT_TRUE(equal(convert(*reference, DType::f64, DType::bf16,
                            {1 + ulp / 2, 1 + ulp / 2 + hair, 1 + 3 * ulp / 2, 1 + 3 * ulp / 2 - hair,
                             -(1 + ulp / 2 + hair)}),
                    {1, 1 + ulp, 1 + 2 * ulp, 1 + ulp, -(1 + ulp)}));
  for (DType from : {DType::bf16, DType::f32, DType::f64})
    for (DType to : {DType::bf16, DType::f32, DType::f64}) {
      SCOPED_TRACE(testing::Message() << name_of(from) << " to " << name_of(to));
      Values values = rounded(rounded(awkward_numbers(), DType::f32), from);
      EXPECT_TRUE(equal(convert(*reference, from, to, values), rounded(values, to)));
    }
}

}  // namespace
}  // namespace eelsvae
