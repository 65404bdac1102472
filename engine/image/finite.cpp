#include "engine/image/finite.h"

#include <algorithm>
#include <cmath>

namespace eelsvae {

std::string not_finite_text(const SpectrumImageView& image) {
  const int64_t pixels = image.pixels(), channels = image.energy.size;
  int64_t first = pixels, affected = 0;
#pragma omp parallel for schedule(static) reduction(min : first) reduction(+ : affected)
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    if (!image.excluded.empty() && image.excluded[static_cast<size_t>(pixel)]) continue;
    const float* spectrum = image.spectrum(pixel);
    int64_t bad = 0;
#pragma omp simd reduction(+ : bad)
    for (int64_t e = 0; e < channels; ++e) bad += std::isfinite(spectrum[e]) ? 0 : 1;
    if (bad == 0) continue;
    first = std::min(first, pixel);
    ++affected;
  }
  if (affected == 0) return "";
  const float* spectrum = image.spectrum(first);
  const int64_t channel =
      std::find_if(spectrum, spectrum + channels, [](float counts) { return !std::isfinite(counts); }) -
      spectrum;
  return std::to_string(affected) + (affected == 1 ? " pixel holds" : " pixels hold") +
         " counts that are not finite (NaN or infinite), the first at (y, x, channel) = (" +
         std::to_string(first / image.x.size) + ", " + std::to_string(first % image.x.size) + ", " +
         std::to_string(channel) + ")";
}

std::vector<uint8_t> finite_channels(const SpectrumImageView& image) {
  const int64_t channels = image.energy.size;
  std::vector<uint8_t> finite(static_cast<size_t>(channels), 1);
#pragma omp parallel
  {
    std::vector<uint8_t> here(finite.size(), 1);
#pragma omp for schedule(static)
    for (int64_t pixel = 0; pixel < image.pixels(); ++pixel) {
      if (!image.excluded.empty() && image.excluded[static_cast<size_t>(pixel)]) continue;
      const float* spectrum = image.spectrum(pixel);
      for (size_t e = 0; e < here.size(); ++e) here[e] &= std::isfinite(spectrum[e]) ? 1 : 0;
    }
#pragma omp critical
    for (size_t e = 0; e < here.size(); ++e) finite[e] &= here[e];
  }
  return finite;
}

}  // namespace eelsvae
