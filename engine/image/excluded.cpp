#include "engine/image/excluded.h"

#include <algorithm>
#include <string>

#include "kernels/error.h"

namespace eelsvae {

void exclude_rectangle(SpectrumImage& image, const std::array<int64_t, 4>& rectangle) {
  const auto [y0, x0, y1, x1] = rectangle;
  if (y1 > image.y.size || x1 > image.x.size)
    throw UserError("data.exclude: the rectangle [" + std::to_string(y0) + ", " + std::to_string(x0) + ", " +
                    std::to_string(y1) + ", " + std::to_string(x1) +
                    "] reaches beyond the image, which has (y, x) = (" + std::to_string(image.y.size) + ", " +
                    std::to_string(image.x.size) + ") pixels");
  for (int64_t y = y0; y < y1; ++y)
    std::fill_n(image.excluded.begin() + y * image.x.size + x0, x1 - x0, uint8_t{by_request});
}

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
