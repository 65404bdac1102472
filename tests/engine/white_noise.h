#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

struct NoisySample {
  SpectrumImage image;
  std::vector<float> expected;  // 100 everywhere
};

// Counts around 100 with white noise of the given standard deviation.
inline NoisySample white_noise(int64_t height, int64_t width, int64_t channels, float deviation,
                               uint32_t seed = 1) {
  NoisySample sample;
  sample.image.y = {"y", "nm", 0, 1, height};
  sample.image.x = {"x", "nm", 0, 1, width};
  sample.image.energy = {"Energy loss", "eV", 420, 0.3, channels};
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < height * width * channels; ++i)
    sample.image.counts.push_back(100 + deviation * normal(generator));
  sample.expected.assign(sample.image.counts.size(), 100);
  return sample;
}

// The same of the same variance, but that a channel shares noise with its neighbours, as a detector's spread
// makes it: their correlation is `correlation`, at most 0.5.
inline NoisySample correlated_noise(int64_t height, int64_t width, int64_t channels, float deviation,
                                    double correlation, uint32_t seed = 1) {
  NoisySample sample = white_noise(height, width, channels, 0, seed);
  const double own = std::sqrt((1 + std::sqrt(1 - 4 * correlation * correlation)) / 2);
  const auto of_own = static_cast<float>(own), of_neighbour = static_cast<float>(correlation / own);
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, deviation);
  for (int64_t pixel = 0; pixel < height * width; ++pixel) {
    float before = normal(generator);
    for (int64_t e = 0; e < channels; ++e) {
      const float here = normal(generator);
      sample.image.spectrum(pixel)[e] += of_own * here + of_neighbour * before;
      before = here;
    }
  }
  return sample;
}

}  // namespace eelsvae
