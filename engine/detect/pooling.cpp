#include "engine/detect/pooling.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"

namespace eelsvae {
namespace {

// Both weights, w and w^2, are products of one factor for y and one for x. Beyond the border is nothing.
void convolve(std::vector<double>& map, int64_t height, int64_t width, const std::vector<double>& weights) {
  const auto reach = static_cast<int64_t>(weights.size()) - 1;
  std::vector<double> along_x(map.size());
#pragma omp parallel for schedule(static)
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      double sum = 0;
      for (int64_t u = std::max<int64_t>(x - reach, 0); u <= std::min(x + reach, width - 1); ++u)
        sum += weights[static_cast<size_t>(std::abs(u - x))] * map[static_cast<size_t>(y * width + u)];
      along_x[static_cast<size_t>(y * width + x)] = sum;
    }
#pragma omp parallel for schedule(static)
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      double sum = 0;
      for (int64_t v = std::max<int64_t>(y - reach, 0); v <= std::min(y + reach, height - 1); ++v)
        sum += weights[static_cast<size_t>(std::abs(v - y))] * along_x[static_cast<size_t>(v * width + x)];
      map[static_cast<size_t>(y * width + x)] = sum;
    }
}

}  // namespace

std::vector<float> pool_evidence(std::span<const float> z, int64_t height, int64_t width, double sigma) {
  expect(static_cast<int64_t>(z.size()) == height * width, "scores of another size than their map");
  expect(std::isfinite(sigma) && sigma >= 0, "a pooling sigma that is negative or not finite");
  std::vector<float> pooled(z.begin(), z.end());
  std::vector<double> weights;
  const double reach = std::min(std::round(3 * sigma), static_cast<double>(std::max(height, width)));
  for (int64_t d = 0; d <= static_cast<int64_t>(reach); ++d) {
    const double distance = d == 0 ? 0 : static_cast<double>(d) / sigma;
    weights.push_back(std::exp(-0.5 * distance * distance));
  }
  if (weights.size() == 1) return pooled;
  std::vector<double> sums(z.size()), squares(z.size());
  for (size_t i = 0; i < z.size(); ++i) {
    expect(!std::isinf(z[i]), "a standardised score that is infinite");
    sums[i] = std::isnan(z[i]) ? 0 : static_cast<double>(z[i]);
    squares[i] = std::isnan(z[i]) ? 0 : 1;
  }
  convolve(sums, height, width, weights);
  for (double& weight : weights) weight *= weight;
  convolve(squares, height, width, weights);
  for (size_t i = 0; i < z.size(); ++i)
    if (!std::isnan(z[i])) pooled[i] = static_cast<float>(sums[i] / std::sqrt(squares[i]));
  return pooled;
}

}  // namespace eelsvae
