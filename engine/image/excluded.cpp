#include "engine/image/excluded.h"

#include <algorithm>

#include "kernels/error.h"

namespace eelsvae {

int64_t excluded_pixels(std::span<const uint8_t> excluded, uint8_t why) {
  return std::count_if(excluded.begin(), excluded.end(), [why](uint8_t pixel) { return (pixel & why) != 0; });
}

void fill_excluded(std::span<const uint8_t> excluded, std::span<float> cube, float counts) {
  if (excluded.empty()) return;
  expect(cube.size() % excluded.size() == 0, "a mask of excluded pixels does not match its cube");
  const auto pixels = static_cast<int64_t>(excluded.size());
  const auto energy = static_cast<int64_t>(cube.size()) / pixels;
  for (int64_t pixel = 0; pixel < pixels; ++pixel)
    if (excluded[static_cast<size_t>(pixel)]) std::fill_n(cube.data() + pixel * energy, energy, counts);
}

}  // namespace eelsvae
