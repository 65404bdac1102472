#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <string>

#include "engine/image/spectrum_image.h"
#include "kernels/error.h"

namespace eelsvae {

// Small images for tests of preprocessing, filled as counts(y, x, energy in eV) says.
inline SpectrumImage image_of(int64_t height, int64_t width, const Axis& energy,
                              const std::function<double(int64_t, int64_t, double)>& counts) {
  SpectrumImage image;
  image.y = {"y", "nm", 10, 0.5, height};
  image.x = {"x", "nm", 20, 0.5, width};
  image.energy = energy;
  image.counts.resize(static_cast<size_t>(height * width * energy.size));
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      for (int64_t e = 0; e < energy.size; ++e)
        image.spectrum(y * width + x)[e] =
            static_cast<float>(counts(y, x, energy.value(static_cast<double>(e))));
  return image;
}

// Shot noise of `gain` counts per electron, and readout noise (counts rms).
inline void add_noise(SpectrumImage& image, uint32_t seed, double gain = 1, double readout = 0) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  for (float& count : image.counts) {
    std::poisson_distribution<int64_t> electrons(std::max(1e-9, static_cast<double>(count) / gain));
    const double shot = count > 0 ? gain * static_cast<double>(electrons(generator)) : 0;
    count = static_cast<float>(shot + (readout > 0 ? readout * normal(generator) : 0));
  }
}

inline double gaussian(double ev, double centre, double sigma) {
  return std::exp(-0.5 * (ev - centre) * (ev - centre) / (sigma * sigma));
}

inline std::string user_error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace eelsvae
