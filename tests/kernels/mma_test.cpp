#include "kernels/cuda/mma.h"

#include "kernels/cuda/launch.h"
#include "tests/kernels/backend_test.h"
#include "tests/kernels/emulated_stream.h"

namespace eelsvae::emulated {
namespace {

// One warp: c (16, 8) = a (16, K) b (K, 8), all row-major, by the fragments as mma.h describes them.
template <typename T>
void product_kernel(const T* a, const T* b, float* c) {
  constexpr int per_word = 4 / sizeof(T), inner = mma_words * per_word;
  const int lane = static_cast<int>(threadIdx.x), g = lane / 4, q = lane % 4;
  auto word = [&](auto element, int place) {
    if constexpr (per_word == 2)
      return mma_word(element(2 * place), element(2 * place + 1));
    else
      return mma_word(element(place));
  };
  auto of_a = [&](int row, int place) { return word([&](int k) { return a[row * inner + k]; }, place); };
  auto of_b = [&](int place, int column) { return word([&](int k) { return b[k * 8 + column]; }, place); };
  const uint32_t fragment_a[4] = {of_a(g, q), of_a(g + 8, q), of_a(g, q + 4), of_a(g + 8, q + 4)};
  const uint32_t fragment_b[2] = {of_b(q, g), of_b(q + 4, g)};
  float sum[4] = {};
  mma<T>(sum, fragment_a, fragment_b);
  for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * q + i % 2] = sum[i];
}

template <typename T>
void expect_product(double tolerance) {
  constexpr int inner = mma_words * 4 / sizeof(T);
  const std::unique_ptr<Backend> backend = make_backend("emulated", "fp32");
  const DType type = dtype_of<T>::value;
  const Values a = rounded(random_normal(16 * inner, 1, 1), type),
               b = rounded(random_normal(inner * 8, 1, 2), type);
  const DeviceArray first(*backend, type, a), second(*backend, type, b), c(*backend, DType::f32, 16 * 8);
  launch(stream_of(*backend), "product_kernel", product_kernel<T>, 1, 32, static_cast<const T*>(first.data()),
         static_cast<const T*>(second.data()), static_cast<float*>(c.data()));
  Values expected(16 * 8, 0.0);
  for (size_t row = 0; row < 16; ++row)
    for (size_t column = 0; column < 8; ++column)
      for (size_t k = 0; k < inner; ++k) expected[row * 8 + column] += a[row * inner + k] * b[k * 8 + column];
  EXPECT_TRUE(close(c.download(), expected, tolerance));
}

TEST(Mma, FragmentsMakeTheProduct) {
  expect_product<bfloat16>(tolerance_of("fp32").operation);  // bf16 factors multiply exactly
  expect_product<float>(tolerance_of("tf32").operation);
}

TEST(Mma, Tf32IsRoundedToNearest) {
  auto rounded = [](float value) { return std::bit_cast<float>(mma_word(value)); };
  const float ulp = 0x1p-10f;
  EXPECT_EQ(rounded(1 + ulp), 1 + ulp);
  EXPECT_EQ(rounded(1 + 0.499f * ulp), 1.0f);
  EXPECT_EQ(rounded(1 + 0.5f * ulp), 1 + ulp);  // ties away from zero
  EXPECT_EQ(rounded(-1 - 0.5f * ulp), -1 - ulp);
  EXPECT_EQ(rounded(INFINITY), INFINITY);
}

}  // namespace
}  // namespace eelsvae::emulated
