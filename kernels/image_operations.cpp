#include "kernels/image_operations.h"

namespace eelsvae {
namespace {

// `values`, filtered along an axis of `length` samples that are `step` apart.
std::vector<float> filtered(const std::vector<float>& values, int64_t length, int64_t step,
                            std::span<const float> half) {
  std::vector<float> sums;
  for (int64_t at = 0; at < std::ssize(values); ++at) {
    const int64_t i = at / step % length;
    const auto value = [&](int64_t sample) {
      return values[static_cast<size_t>(at + (reflected(sample, length) - i) * step)];
    };
    float sum = half[0] * value(i);
    for (int64_t k = 1; k < std::ssize(half); ++k)
      sum = multiply_add(half[static_cast<size_t>(k)], value(i - k) + value(i + k), sum);
    sums.push_back(sum);
  }
  return sums;
}

}  // namespace

std::vector<float> normalizing_factors(int64_t height, int64_t width, const uint8_t* excluded,
                                       std::span<const float> half) {
  // The weights of all pixels, rounded as sums of them are below: where none is left out the factor is 1, so
  // that what is filtered there does not depend on whether one is left out elsewhere.
  const auto all_along = [&](float each) {
    float sum = half[0] * each;
    for (size_t k = 1; k < half.size(); ++k) sum = multiply_add(half[k], each + each, sum);
    return sum;
  };
  const float all = all_along(all_along(1));
  std::vector<float> factors;
  for (int64_t pixel = 0; pixel < height * width; ++pixel) factors.push_back(excluded[pixel] ? 0.0f : 1.0f);
  factors = filtered(filtered(factors, height, width, half), width, 1, half);
  for (int64_t pixel = 0; pixel < height * width; ++pixel) {
    float& factor = factors[static_cast<size_t>(pixel)];
    factor = excluded[pixel] ? 0 : all / factor;
  }
  return factors;
}

}  // namespace eelsvae
