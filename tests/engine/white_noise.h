#pragma once

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

}  // namespace eelsvae
