#include "kernels/array.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/conv3d.h"
#include "kernels/linear.h"

namespace eelsvae {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

float as_float(uint32_t bits) {
  return std::bit_cast<float>(bits);
}

TEST(Bfloat16, EveryValueSurvivesTheWayThroughFloat) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    bfloat16 value;
    value.bits = static_cast<uint16_t>(bits);
    float wide = value;
    if (std::isnan(wide))
      EXPECT_TRUE(std::isnan(static_cast<float>(bfloat16(wide)))) << std::hex << bits;
    else
      EXPECT_EQ(bfloat16(wide).bits, bits);
  }
}

TEST(Bfloat16, RoundsToNearestTiesToEven) {
  // One float below, at and above the middle between each pair of neighbours, for even and odd neighbours.
  for (uint32_t lower : {0x0000u, 0x0001u, 0x007fu, 0x3f80u, 0x3f81u, 0x4148u, 0x7f7eu}) {
    for (uint32_t sign : {0u, 0x8000u}) {
      uint32_t below = (lower | sign) << 16 | 0x7fffu, middle = below + 1, above = below + 2;
      EXPECT_EQ(bfloat16(as_float(below)).bits, lower | sign) << std::hex << below;
      EXPECT_EQ(bfloat16(as_float(middle)).bits, ((lower | sign) + 1) & ~1u) << std::hex << middle;
      EXPECT_EQ(bfloat16(as_float(above)).bits, (lower | sign) + 1) << std::hex << above;
    }
  }
}

TEST(Bfloat16, KeepsNanInfinityAndSignedZero) {
  for (uint32_t nan : {0x7fc00000u, 0x7f800001u, 0x7fffffffu, 0xffffffffu, 0xff800001u})
    EXPECT_TRUE(std::isnan(static_cast<float>(bfloat16(as_float(nan))))) << std::hex << nan;
  EXPECT_EQ(static_cast<float>(bfloat16(infinity)), infinity);
  EXPECT_EQ(static_cast<float>(bfloat16(-infinity)), -infinity);
  EXPECT_EQ(static_cast<float>(bfloat16(std::numeric_limits<float>::max())), infinity);
  EXPECT_EQ(bfloat16(-0.0f).bits, 0x8000);
}

TEST(Array, RefusesAnotherType) {
  float value = 1;
  ConstArray array = {&value, DType::f32, 1};
  EXPECT_EQ(array.as<float>(), &value);
  EXPECT_THROW(array.as<double>(), std::logic_error);
  EXPECT_THROW(array.as<bfloat16>(), std::logic_error);
}

// Sizes that a long scan at a large batch reaches: index arithmetic only, nothing is allocated.
TEST(Array, SizesPastTwoToThe31) {
  int64_t count = (int64_t{1} << 32) + 3;
  EXPECT_EQ((ConstArray{nullptr, DType::f32, count}.bytes()), (size_t{1} << 34) + 12);
  EXPECT_EQ((Array{nullptr, DType::f64, count}.bytes()), (size_t{1} << 35) + 24);

  Conv3dProblem conv = {.batch = 512,
                        .in = {24, 24, 656},
                        .in_channels = 32,
                        .out_channels = 64,
                        .kernel = {3, 3, 5},
                        .stride = {1, 1, 2},
                        .padding = {1, 1, 2}};
  EXPECT_EQ(conv.out(), (Extent3{24, 24, 328}));
  EXPECT_EQ(conv.x_count(), 6190792704);
  EXPECT_EQ(conv.y_count(), 6190792704);
  EXPECT_EQ(conv.weight_count(), 92160);
  EXPECT_DOUBLE_EQ(conv.flops(), 2.0 * 512 * 24 * 24 * 328 * 92160);

  LinearProblem linear = {.batch = 4096, .in = 755712, .out = 4096};
  EXPECT_DOUBLE_EQ(linear.flops(), 2.0 * 4096 * 755712.0 * 4096);
}

}  // namespace
}  // namespace eelsvae
