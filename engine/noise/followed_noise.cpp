#include "engine/noise/followed_noise.h"

#include <algorithm>
#include <array>
#include <vector>

namespace eelsvae {

double followed_noise(const SpectrumImageView& observed, std::span<const float> expected) {
  constexpr int64_t enough = 4096;
  constexpr std::array<double, 3> second = {1, -2, 1};
  const int64_t height = observed.y.size, width = observed.x.size, channels = observed.energy.size;
  if (height < 3 || width < 3 || channels < 3) return 0;
  const int64_t inner = (height - 2) * (width - 2), step = std::max<int64_t>(1, inner / enough);
  // The difference over pixels, for every channel.
  const auto over_pixels = [&](const float* counts, int64_t pixel, std::vector<double>& sums) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (int64_t y = 0; y < 3; ++y)
      for (int64_t x = 0; x < 3; ++x) {
        const double weight = second[static_cast<size_t>(y)] * second[static_cast<size_t>(x)];
        const float* spectrum = counts + (pixel + (y - 1) * width + x - 1) * channels;
        for (int64_t e = 0; e < channels; ++e) sums[static_cast<size_t>(e)] += weight * spectrum[e];
      }
  };
  const auto excluded = [&](int64_t pixel) {
    for (int64_t y = -1; y <= 1; ++y)
      for (int64_t x = -1; x <= 1; ++x)
        if (!observed.excluded.empty() && observed.excluded[static_cast<size_t>(pixel + y * width + x)])
          return true;
    return false;
  };
  std::vector<double> of_observed(static_cast<size_t>(channels)), of_expected = of_observed;
  double products = 0, squares = 0;
  for (int64_t k = 0; k < inner; k += step) {
    const int64_t pixel = (k / (width - 2) + 1) * width + k % (width - 2) + 1;
    if (excluded(pixel)) continue;
    over_pixels(observed.counts.data(), pixel, of_observed);
    over_pixels(expected.data(), pixel, of_expected);
    for (size_t e = 1; e + 1 < of_observed.size(); ++e) {
      const double seen = of_observed[e - 1] - 2 * of_observed[e] + of_observed[e + 1];
      products += seen * (of_expected[e - 1] - 2 * of_expected[e] + of_expected[e + 1]);
      squares += seen * seen;
    }
  }
  return squares > 0 ? products / squares : 0;
}

}  // namespace eelsvae
