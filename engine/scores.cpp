#include "engine/scores.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"

namespace eelsvae {
namespace {

double pearson(const float* a, const float* b, int64_t n) {
  double sum_a = 0, sum_b = 0;
#pragma omp simd reduction(+ : sum_a, sum_b)
  for (int64_t i = 0; i < n; ++i) {
    sum_a += static_cast<double>(a[i]);
    sum_b += static_cast<double>(b[i]);
  }
  const double mean_a = sum_a / static_cast<double>(n), mean_b = sum_b / static_cast<double>(n);
  double aa = 0, bb = 0, ab = 0;
#pragma omp simd reduction(+ : aa, bb, ab)
  for (int64_t i = 0; i < n; ++i) {
    const double da = static_cast<double>(a[i]) - mean_a, db = static_cast<double>(b[i]) - mean_b;
    aa += da * da;
    bb += db * db;
    ab += da * db;
  }
  // A variance below this is the rounding of the mean: one unit in the last place of one float gives more.
  auto constant = [n](double squares, double mean) {
    return squares <= 1e-20 * static_cast<double>(n) * mean * mean;
  };
  if (constant(aa, mean_a) || constant(bb, mean_b)) return 0;
  const double r = ab / (std::sqrt(aa) * std::sqrt(bb));
  return std::isfinite(r) ? std::clamp(r, -1.0, 1.0) : 0;
}

}  // namespace

std::vector<float> pearson_scores(const SpectrumImage& observed, std::span<const float> reconstruction,
                                  ChannelWindow window) {
  expect(reconstruction.size() == observed.counts.size(), "reconstruction of another size");
  expect(0 <= window.first && window.first < window.last && window.last <= observed.energy.size,
         "score window outside the energy axis");
  std::vector<float> scores(static_cast<size_t>(observed.pixels()));
#pragma omp parallel for schedule(static)
  for (int64_t pixel = 0; pixel < observed.pixels(); ++pixel) {
    const float* a = observed.spectrum(pixel) + window.first;
    const float* b = reconstruction.data() + pixel * observed.energy.size + window.first;
    scores[static_cast<size_t>(pixel)] = static_cast<float>(1 - pearson(a, b, window.size()));
  }
  return scores;
}

}  // namespace eelsvae
