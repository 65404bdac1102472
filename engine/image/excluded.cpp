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

int64_t exchange_excluded(SpectrumImage& image) {
  const std::span<const uint8_t> excluded = image.excluded;
  const int64_t kept = image.pixels() - excluded_pixels(excluded);
  // As many are excluded among the first `kept` pixels as are not among the others.
  for (int64_t before = 0, after = kept; before < kept && kept < image.pixels(); ++before) {
    if (!excluded[static_cast<size_t>(before)]) continue;
    while (excluded[static_cast<size_t>(after)]) ++after;
    std::swap_ranges(image.spectrum(before), image.spectrum(before) + image.energy.size,
                     image.spectrum(after++));
  }
  return kept;
}

}  // namespace eelsvae
