#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// Arrays as the scripts in reports read them: base64 of little-endian values.
static_assert(std::endian::native == std::endian::little,
              "browsers read the embedded arrays as little-endian");

std::string base64_of_bytes(const unsigned char* bytes, size_t size);

template <typename T>
std::string base64(std::span<const T> values) {
  return base64_of_bytes(reinterpret_cast<const unsigned char*>(values.data()), values.size_bytes());
}
template <typename T>
std::string base64(const std::vector<T>& values) {
  return base64(std::span<const T>(values));
}

// The least and the greatest finite value; 0 and 0 where there is none.
std::array<float, 2> finite_range(std::span<const float> values);

// Values as whole steps from `lowest` (low) to the type's maximum (high). What is not finite becomes 0.
template <typename T>
void quantise(std::span<const float> values, std::array<float, 2> range, std::vector<T>& steps,
              T lowest = 0) {
  const double full = std::numeric_limits<T>::max() - lowest,
               width = static_cast<double>(range[1]) - range[0];
  for (float v : values) {
    const double share = width > 0 ? (v - static_cast<double>(range[0])) / width : 0;
    steps.push_back(
        std::isfinite(v) ? static_cast<T>(lowest + std::lround(full * std::clamp(share, 0.0, 1.0))) : T{0});
  }
}

// Spectra of a cube (..., channels) at the given pixels, averaged over `bin` channels: steps of T and each
// spectrum's own range, as base64.
template <typename T>
std::pair<std::string, std::string> packed_spectra(std::span<const float> cube, int64_t channels,
                                                   const std::vector<int64_t>& pixels, int64_t bin) {
  std::vector<T> steps;
  std::vector<float> ranges, spectrum;
  steps.reserve(pixels.size() * static_cast<size_t>((channels + bin - 1) / bin));
  for (int64_t pixel : pixels) {
    spectrum.clear();
    for (int64_t first = 0; first < channels; first += bin) {
      const int64_t past = std::min(first + bin, channels);
      double sum = 0;
      for (int64_t e = first; e < past; ++e) sum += cube[pixel * channels + e];
      spectrum.push_back(static_cast<float>(sum / static_cast<double>(past - first)));
    }
    const std::array<float, 2> range = finite_range(spectrum);
    ranges.insert(ranges.end(), range.begin(), range.end());
    quantise<T>(spectrum, range, steps);
  }
  return {base64(steps), base64(ranges)};
}

// A number, or null where it is not finite.
nlohmann::json finite_json(double value);

// An axis with finite offset and scale.
nlohmann::json axis_json(const Axis& axis);

}  // namespace eelsvae
