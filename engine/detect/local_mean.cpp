#include "engine/detect/local_mean.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/error.h"

namespace eelsvae {

CountArray local_means(const SpectrumImageView& image, int64_t reach, int64_t first, int64_t last,
                       std::span<const double> instead) {
  const int64_t height = image.y.size, width = image.x.size, channels = image.energy.size,
                line = width * channels;
  expect(0 <= first && first <= last && last <= height, "rows that are not there");
  expect(reach > local_guard, "surroundings within their guard");
  expect(std::ssize(instead) == channels, "a mean spectrum of another size");
  const double instead_total = std::accumulate(instead.begin(), instead.end(), 0.0);
  CountArray means(static_cast<size_t>((last - first) * line));
#pragma omp parallel
  {
    // Of each column, the sum over the lines within reach of the row, and over those within the guard.
    std::vector<float> far(static_cast<size_t>(line)), near(far.size()), sum(static_cast<size_t>(channels));
    const auto add_lines = [&](int64_t y, int64_t distance, std::vector<float>& to) {
      std::fill(to.begin(), to.end(), 0.0f);
      for (int64_t v = std::max<int64_t>(0, y - distance); v <= std::min(height - 1, y + distance); ++v)
        for (int64_t x = 0; x < width; ++x) {
          if (!image.excluded.empty() && image.excluded[static_cast<size_t>(v * width + x)]) continue;
          const float* from = image.spectrum(v * width + x);
          float* out = to.data() + x * channels;
#pragma omp simd
          for (int64_t e = 0; e < channels; ++e) out[e] += from[e];
        }
    };
    const auto add_columns = [&](int64_t x, int64_t distance, const std::vector<float>& of, float sign) {
      for (int64_t u = std::max<int64_t>(0, x - distance); u <= std::min(width - 1, x + distance); ++u) {
        const float* from = of.data() + u * channels;
        float* out = sum.data();
#pragma omp simd
        for (int64_t e = 0; e < channels; ++e) out[e] += sign * from[e];
      }
    };
#pragma omp for schedule(dynamic)
    for (int64_t y = first; y < last; ++y) {
      add_lines(y, reach, far);
      add_lines(y, local_guard, near);
      for (int64_t x = 0; x < width; ++x) {
        float* out = means.data() + ((y - first) * width + x) * channels;
        if (!image.excluded.empty() && image.excluded[static_cast<size_t>(y * width + x)]) {
          std::fill_n(out, channels, 0.0f);
          continue;
        }
        std::fill(sum.begin(), sum.end(), 0.0f);
        add_columns(x, reach, far, 1);
        add_columns(x, local_guard, near, -1);
        const auto total = [&](const float* of) {
          double all = 0;
          for (int64_t e = 0; e < channels; ++e) all += static_cast<double>(of[e]);
          return all;
        };
        const double own = total(image.spectrum(y * width + x)), around = total(sum.data());
        // What rounding leaves of a difference of equal sums is no spectrum.
        const double least = 1e-4 * std::abs(total(far.data() + x * channels));
        if (around > least && around > 0) {
          const auto factor = static_cast<float>(own / around);
#pragma omp simd
          for (int64_t e = 0; e < channels; ++e) out[e] = factor * sum[static_cast<size_t>(e)];
        } else {
          for (int64_t e = 0; e < channels; ++e)
            out[e] = static_cast<float>(instead[static_cast<size_t>(e)] * (own / instead_total));
        }
      }
    }
  }
  return means;
}

}  // namespace eelsvae
