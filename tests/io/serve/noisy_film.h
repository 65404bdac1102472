#pragma once

#include <cmath>
#include <cstdint>

#include "engine/image/spectrum_image.h"
#include "kernels/philox.h"

// A small scan for tests that learn from its first rows.
namespace eelsvae::noisy {

inline constexpr int64_t height = 30, width = 24, channels = 48, learned = 12;  // rows

// Counts of a film, whose pixels differ by their noise.
inline SpectrumImage film() {
  SpectrumImage image;
  image.y = {"y", "", 0, 1, height};
  image.x = {"x", "", 0, 1, width};
  image.energy = {"Energy loss", "eV", 400, 1, channels};
  for (int64_t i = 0; i < height * width * channels; ++i) {
    const double mean = 900 - 8 * static_cast<double>(i % channels);
    double noise = 0;
    for (const uint32_t v : philox(3, RandomStream::simulation, 0, static_cast<uint64_t>(i)).v)
      noise += uniform(v) - 0.5;
    image.counts.push_back(static_cast<float>(std::round(mean + std::sqrt(3 * mean) * noise)));
  }
  return image;
}

}  // namespace eelsvae::noisy
