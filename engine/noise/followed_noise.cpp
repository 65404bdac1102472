#include "engine/noise/followed_noise.h"

#include <algorithm>
#include <array>
#include <vector>

namespace eelsvae {
namespace {

constexpr int64_t enough = 4096;  // pixels

bool is_excluded(const SpectrumImageView& image, int64_t pixel) {
  return !image.excluded.empty() && image.excluded[static_cast<size_t>(pixel)] != 0;
}

}  // namespace

double followed_noise(const SpectrumImageView& observed, std::span<const float> expected, int64_t widest) {
  constexpr std::array<double, 3> second = {1, -2, 1};
  const int64_t height = observed.y.size, width = observed.x.size, channels = observed.energy.size;
  const int64_t reach_y = height >= 3, reach_x = width >= 3;  // pixels to either side
  if (reach_y + reach_x == 0) return 0;
  const int64_t rows = height - 2 * reach_y, columns = width - 2 * reach_x;
  const int64_t step = std::max<int64_t>(1, rows * columns / enough);
  // The difference over pixels, for every channel; false where one of them is excluded.
  const auto over_pixels = [&](const float* counts, int64_t pixel, std::vector<double>& sums) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (int64_t y = -reach_y; y <= reach_y; ++y)
      for (int64_t x = -reach_x; x <= reach_x; ++x) {
        const int64_t neighbour = pixel + y * width + x;
        if (is_excluded(observed, neighbour)) return false;
        const double weight = (reach_y > 0 ? second[static_cast<size_t>(y + 1)] : 1) *
                              (reach_x > 0 ? second[static_cast<size_t>(x + 1)] : 1);
        for (int64_t e = 0; e < channels; ++e)
          sums[static_cast<size_t>(e)] += weight * counts[neighbour * channels + e];
      }
    return true;
  };
  std::vector<double> seen(static_cast<size_t>(channels)), told = seen;
  std::vector<int64_t> apart;
  for (int64_t lag = 1; lag <= widest && 2 * lag < channels; lag *= 2) apart.push_back(lag);
  std::vector<double> products(apart.size()), squares(apart.size());
  for (int64_t k = 0; k < rows * columns; k += step) {
    const int64_t pixel = (k / columns + reach_y) * width + k % columns + reach_x;
    if (!over_pixels(observed.counts.data(), pixel, seen) || !over_pixels(expected.data(), pixel, told))
      continue;
    for (size_t i = 0; i < apart.size(); ++i) {
      const auto lag = static_cast<size_t>(apart[i]);
      for (size_t e = lag; e + lag < seen.size(); ++e) {
        const double difference = seen[e - lag] - 2 * seen[e] + seen[e + lag];
        products[i] += difference * (told[e - lag] - 2 * told[e] + told[e + lag]);
        squares[i] += difference * difference;
      }
    }
  }
  double most = 0;
  for (size_t i = 0; i < apart.size(); ++i)
    if (squares[i] > 0) most = std::max(most, products[i] / squares[i]);
  return most;
}

double relative_distance(const SpectrumImageView& observed, std::span<const float> expected, int64_t lag) {
  const int64_t height = observed.y.size, width = observed.x.size, channels = observed.energy.size;
  const bool along_x = width > lag;
  if (!along_x && height <= lag) return 0;
  const int64_t rows = along_x ? height : height - lag, columns = along_x ? width - lag : width;
  const int64_t step = std::max<int64_t>(1, rows * columns / enough);
  std::vector<double> ratios;
  for (int64_t k = 0; k < rows * columns; k += step) {
    const int64_t pixel = k / columns * width + k % columns,
                  neighbour = pixel + (along_x ? lag : lag * width);
    if (is_excluded(observed, pixel) || is_excluded(observed, neighbour)) continue;
    double left = 0, between = 0;
    for (int64_t e = 0; e < channels; ++e) {
      const double o = observed.spectrum(pixel)[e], n = observed.spectrum(neighbour)[e];
      const double x = expected[static_cast<size_t>(pixel * channels + e)];
      left += (o - x) * (o - x);
      between += (o - n) * (o - n) / 2;
    }
    if (between > 0) ratios.push_back(left / between);
  }
  if (ratios.empty()) return 0;
  const auto middle = ratios.begin() + std::ssize(ratios) / 2;
  std::nth_element(ratios.begin(), middle, ratios.end());
  return *middle;
}

}  // namespace eelsvae
