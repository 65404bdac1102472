#include "engine/filters.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/excluded.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

// Where sample i of a line of n lies once mirrored into the line.
int64_t reflect(int64_t i, int64_t n) {
  int64_t period = 2 * n;
  int64_t inside = ((i % period) + period) % period;
  return inside < n ? inside : period - 1 - inside;
}

// Both filters are symmetric: `half` holds the weights of the centre and of distances 1, 2, ...

// Along the middle axis of (outer, n, inner), vectorised over the contiguous inner axis. A line of 256
// columns is copied aside, where a core's second-level cache holds it, and written back filtered.
void filter_strided(float* values, int64_t outer, int64_t n, int64_t inner, const std::vector<float>& half) {
  constexpr int64_t columns = 256;
  const int64_t radius = static_cast<int64_t>(half.size()) - 1;
  const int64_t blocks = (inner + columns - 1) / columns;
  std::vector<float> scratch(static_cast<size_t>(omp_get_max_threads() * n * columns));
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t begin = block * columns, width = std::min(columns, inner - begin);
      float* base = values + o * n * inner + begin;
      float* line = scratch.data() + omp_get_thread_num() * n * columns;
      for (int64_t i = 0; i < n; ++i) std::copy_n(base + i * inner, width, line + i * columns);
      for (int64_t i = 0; i < n; ++i) {
        float* out = base + i * inner;
        const float* centre = line + i * columns;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) out[j] = half[0] * centre[j];
        for (int64_t k = 1; k <= radius; ++k) {
          const float weight = half[static_cast<size_t>(k)];
          const float* before = line + reflect(i - k, n) * columns;
          const float* after = line + reflect(i + k, n) * columns;
#pragma omp simd
          for (int64_t j = 0; j < width; ++j) out[j] += weight * (before[j] + after[j]);
        }
      }
    }
  }
}

// Along the contiguous axis of (lines, n).
void filter_contiguous(float* values, int64_t lines, int64_t n, const std::vector<float>& half) {
  const int64_t radius = static_cast<int64_t>(half.size()) - 1;
  const int64_t padded = n + 2 * radius;
  std::vector<float> scratch(static_cast<size_t>(omp_get_max_threads() * padded));
#pragma omp parallel for schedule(static)
  for (int64_t line = 0; line < lines; ++line) {
    float* out = values + line * n;
    float* in = scratch.data() + omp_get_thread_num() * padded + radius;
    std::copy_n(out, n, in);
    for (int64_t k = 1; k <= radius; ++k) {
      in[-k] = out[reflect(-k, n)];
      in[n - 1 + k] = out[reflect(n - 1 + k, n)];
    }
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) out[j] = half[0] * in[j];
    for (int64_t k = 1; k <= radius; ++k) {
      const float weight = half[static_cast<size_t>(k)];
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) out[j] += weight * (in[j - k] + in[j + k]);
    }
  }
}

// Along y and x of (y.size, x.size, depth).
void filter_plane(const SpectrumImage& image, float* values, int64_t depth, const std::vector<float>& half) {
  filter_strided(values, 1, image.y.size, image.x.size * depth, half);
  filter_strided(values, image.y.size, image.x.size, depth, half);
}

// Normalized convolution (Knutsson and Westin, CVPR 1993): excluded pixels weigh nothing, the others 1, and
// the filtered counts are divided by the filtered weights. A pixel's own weight keeps these above zero.
void filter_plane(SpectrumImage& image, const std::vector<float>& half) {
  clear_excluded(image.excluded, image.counts);
  filter_plane(image, image.counts.data(), image.energy.size, half);
  if (excluded_pixels(image.excluded) == 0) return;
  std::vector<float> weights;
  for (uint8_t excluded : image.excluded) weights.push_back(excluded ? 0 : 1);
  filter_plane(image, weights.data(), 1, half);
#pragma omp parallel for schedule(static)
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel) {
    const auto i = static_cast<size_t>(pixel);
    const float factor = image.excluded[i] ? 0 : 1 / weights[i];
    float* spectrum = image.spectrum(pixel);
#pragma omp simd
    for (int64_t e = 0; e < image.energy.size; ++e) spectrum[e] *= factor;
  }
}

}  // namespace

void gaussian_filter(SpectrumImage& image, double sigma) {
  if (!(sigma >= 0 && sigma <= 100))
    throw UserError("preprocess.sigma is " + std::to_string(sigma) + "; it must lie between 0 and 100");
  if (sigma == 0) return;
  const auto radius = static_cast<int64_t>(4 * sigma + 0.5);
  std::vector<double> weights;
  double sum = 0;
  for (int64_t k = 0; k <= radius; ++k) {
    double distance = static_cast<double>(k) / sigma;
    weights.push_back(std::exp(-0.5 * distance * distance));
    sum += k == 0 ? weights.back() : 2 * weights.back();
  }
  std::vector<float> half;
  for (double weight : weights) half.push_back(static_cast<float>(weight / sum));
  filter_plane(image, half);
  filter_contiguous(image.counts.data(), image.pixels(), image.energy.size, half);
}

void spatial_mean(SpectrumImage& image, int64_t window) {
  if (window < 1 || window % 2 == 0)
    throw UserError("preprocess.xy_window is " + std::to_string(window) + "; it must be odd and positive");
  if (window == 1) return;
  filter_plane(image, std::vector<float>(static_cast<size_t>(window / 2 + 1),
                                         static_cast<float>(1.0 / static_cast<double>(window))));
}

}  // namespace eelsvae
