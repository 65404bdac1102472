#include "engine/prepare/filters.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "engine/image/excluded.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

// Both filters are symmetric: `half` holds the weights of the centre and of distances 1, 2, ...
using Weights = std::vector<float>;

struct Unchanged {
  float operator()(float x) const { return x; }
};

// a * b + sum, with one rounding where the processor can: a compiler left to choose might round the other
// product of a sum of two, and differently from loop to loop.
float multiply_add(float a, float b, float sum) {
#ifdef FP_FAST_FMAF
  return std::fma(a, b, sum);
#else
  return a * b + sum;
#endif
}

// out[j] = half[0] * centre[j] + sum over k of half[k] * (before[k][j] + after[k][j]), j < n, of mapped
// values. Radius: of the filter where it is known to the compiler, which then goes through the lines
// together; 0: any.
template <int64_t Radius, typename Map>
void add_lines(const float* const* before, const float* const* after, const Weights& half, int64_t n,
               float* out, Map map) {
  if constexpr (Radius > 0) {
    std::array<const float*, Radius + 1> low, high;
    std::array<float, Radius + 1> weight;
    for (size_t k = 0; k <= Radius; ++k) {
      low[k] = before[k];
      high[k] = after[k];
      weight[k] = half[k];
    }
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) {
      float sum = weight[0] * map(low[0][j]);
      for (size_t k = 1; k <= Radius; ++k)
        sum = multiply_add(weight[k], map(low[k][j]) + map(high[k][j]), sum);
      out[j] = sum;
    }
  } else {
    constexpr int64_t piece = 1024;  // stays in the first-level cache while lines are added up
    for (int64_t begin = 0; begin < n; begin += piece) {
      const int64_t end = std::min(n, begin + piece);
#pragma omp simd
      for (int64_t j = begin; j < end; ++j) out[j] = half[0] * map(before[0][j]);
      for (size_t k = 1; k < half.size(); ++k) {
        const float weight = half[k], *low = before[k], *high = after[k];
#pragma omp simd
        for (int64_t j = begin; j < end; ++j)
          out[j] = multiply_add(weight, map(low[j]) + map(high[j]), out[j]);
      }
    }
  }
}

template <typename Map>
void add_lines(const float* const* before, const float* const* after, const Weights& half, int64_t n,
               float* out, Map map) {
  switch (half.size()) {
    case 2:
      return add_lines<1>(before, after, half, n, out, map);
    case 3:
      return add_lines<2>(before, after, half, n, out, map);
    default:
      return add_lines<0>(before, after, half, n, out, map);
  }
}

// A spectrum along energy; `in` has room for half.size() - 1 values before and behind its n.
void filter_spectrum(float* in, int64_t n, const Weights& half, float* out, std::vector<const float*>& before,
                     std::vector<const float*>& after) {
  const int64_t radius = static_cast<int64_t>(half.size()) - 1;
  for (int64_t k = 0; k <= radius; ++k) {
    in[-k] = in[reflected(-k, n)];
    in[n - 1 + k] = in[reflected(n - 1 + k, n)];
    before[static_cast<size_t>(k)] = in - k;
    after[static_cast<size_t>(k)] = in + k;
  }
  add_lines(before.data(), after.data(), half, n, out, Unchanged{});
}

// Filters along y, then x, then energy (if along_energy is not empty), in place, in one passage over memory:
// a strip of a few columns of pixels goes from the first line to the last, and everything it needs of the
// lines around fits into a core's second-level cache. What a strip overwrites and others still need is kept:
//
//   past     the strip's own last `radius` lines, as they were
//   left     the last `radius` columns of the strip before, filtered along y
//   right    the first `radius` columns of the next thread's strips, filtered along y before any thread
//   writes
//
// `map` is applied to every value before it is filtered.
template <typename Map>
class StripFilter {
 public:
  StripFilter(SpectrumImage& image, const Weights& plane, const Weights& along_energy, Map map)
      : image_(image),
        plane_(plane),
        along_energy_(along_energy),
        map_(map),
        radius_(static_cast<int64_t>(plane.size()) - 1),
        before_(std::max(plane.size(), along_energy.size())),
        after_(before_.size()),
        strip_(strip()),
        columns_(static_cast<size_t>((strip_ + 2 * radius_) * channels())) {}

  // For columns [first, last) of the image. All threads must have come through here before one filters.
  void keep_halos(int64_t first, int64_t last) {
    first_ = first;
    last_ = last;
    if (first == last) return;
    left_.resize(static_cast<size_t>(height() * radius_ * channels()));
    right_.resize(left_.size());
    for (int64_t y = 0; y < height(); ++y)
      for (int64_t k = 0; k < radius_; ++k) {
        filter_y(y, reflected(first - radius_ + k, width()), 1, halo(left_, y) + k * channels());
        filter_y(y, reflected(last + k, width()), 1, halo(right_, y) + k * channels());
      }
  }

  void filter() {
    for (int64_t x = first_; x < last_; x += strip_) filter_strip(x, std::min(last_, x + strip_));
  }

 private:
  static constexpr int64_t past_none = -1;  // strip_first_ before the first line is overwritten

  int64_t height() const { return image_.y.size; }
  int64_t width() const { return image_.x.size; }
  int64_t channels() const { return image_.energy.size; }
  // Columns of pixels that are filtered together: 64 KB of a line, and no fewer than the next strip needs. On
  // a disk lines are read as a whole: every strip would read it from the first line to the last.
  int64_t strip() const {
    if (scratch_bytes() > 0) return width();
    return std::max({int64_t{1}, radius_, (int64_t{1} << 14) / channels()});
  }
  float* halo(std::vector<float>& values, int64_t y) { return values.data() + y * radius_ * channels(); }

  // `count` columns from x of line y, filtered along y. Lines of the current strip that are overwritten
  // already are taken from past_.
  void filter_y(int64_t y, int64_t x, int64_t count, float* out) {
    auto line = [&](int64_t i) -> const float* {
      if (strip_first_ != past_none && i < y)
        return past_.data() + (i % past_lines()) * past_width_ + (x - strip_first_) * channels();
      return image_.spectrum(i * width() + x);
    };
    for (int64_t k = 0; k <= radius_; ++k) {
      before_[static_cast<size_t>(k)] = line(reflected(y - k, height()));
      after_[static_cast<size_t>(k)] = line(reflected(y + k, height()));
    }
    add_lines(before_.data(), after_.data(), plane_, count * channels(), out, map_);
  }

  int64_t past_lines() const { return std::max<int64_t>(1, std::min(radius_, height())); }

  void filter_strip(int64_t first, int64_t last) {
    const int64_t n = channels(), own = last - first;
    // The columns to the right that are not filtered yet are filtered along y with the strip.
    const int64_t ahead = std::min(radius_, last_ - last);
    strip_first_ = first;
    past_width_ = (own + ahead) * n;
    past_.resize(static_cast<size_t>(past_lines() * past_width_));
    spectrum_.resize(static_cast<size_t>(n + 2 * energy_radius()));
    for (int64_t y = 0; y < height(); ++y) {
      float* columns = columns_.data();
      std::copy_n(halo(left_, y), radius_ * n, columns);
      filter_y(y, first, own + ahead, columns + radius_ * n);
      std::copy_n(halo(right_, y), (radius_ - ahead) * n, columns + (radius_ + own + ahead) * n);
      std::copy_n(columns + own * n, radius_ * n, halo(left_, y));
      float* line = image_.spectrum(y * width() + first);
      std::copy_n(line, past_width_, past_.data() + (y % past_lines()) * past_width_);
      for (int64_t x = 0; x < own; ++x) filter_x(columns + (radius_ + x) * n, line + x * n);
    }
    strip_first_ = past_none;
  }

  int64_t energy_radius() const {
    return along_energy_.empty() ? 0 : static_cast<int64_t>(along_energy_.size()) - 1;
  }

  // One spectrum from columns already filtered along y: along x, and along energy.
  void filter_x(const float* column, float* out) {
    const int64_t n = channels();
    for (int64_t k = 0; k <= radius_; ++k) {
      before_[static_cast<size_t>(k)] = column - k * n;
      after_[static_cast<size_t>(k)] = column + k * n;
    }
    float* in = along_energy_.empty() ? out : spectrum_.data() + energy_radius();
    add_lines(before_.data(), after_.data(), plane_, n, in, Unchanged{});
    if (!along_energy_.empty()) filter_spectrum(in, n, along_energy_, out, before_, after_);
  }

  SpectrumImage& image_;
  const Weights &plane_, &along_energy_;
  Map map_;
  int64_t radius_, first_ = 0, last_ = 0, strip_first_ = past_none, past_width_ = 0;
  std::vector<const float*> before_, after_;  // lines at distances 0, 1, ...
  const int64_t strip_;
  std::vector<float> columns_, past_, left_, right_, spectrum_;
};

template <typename Map>
void filter(SpectrumImage& image, const Weights& plane, const Weights& along_energy, Map map) {
  const int64_t width = image.x.size, radius = static_cast<int64_t>(plane.size()) - 1;
  // What threads keep of their neighbours' columns takes no more than a quarter of the image.
  const auto wanted = static_cast<int>(
      std::clamp<int64_t>(width / std::max<int64_t>(1, 8 * radius), 1, omp_get_max_threads()));
#pragma omp parallel num_threads(wanted)
  {
    const int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
    StripFilter<Map> strips(image, plane, along_energy, map);
    strips.keep_halos(width * thread / threads, width * (thread + 1) / threads);
#pragma omp barrier
    strips.filter();
  }
}

void normalize(SpectrumImage& image, const Weights& plane) {
  if (excluded_pixels(image.excluded) == 0) return;
  const std::vector<float> factors = normalizing_factors(image, plane);
#pragma omp parallel for schedule(static)
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel) {
    const float factor = factors[static_cast<size_t>(pixel)];
    float* spectrum = image.spectrum(pixel);
#pragma omp simd
    for (int64_t e = 0; e < image.energy.size; ++e) spectrum[e] *= factor;
  }
}

}  // namespace

// Normalized convolution (Knutsson and Westin, CVPR 1993): excluded pixels weigh nothing, the others 1, and
// the filtered counts are divided by the filtered weights. A pixel's own weight keeps these above zero.
std::vector<float> normalizing_factors(const SpectrumImageView& image, const std::vector<float>& weights) {
  SpectrumImage left;
  left.y = image.y;
  left.x = image.x;
  left.energy.size = 1;
  for (const uint8_t excluded : image.excluded) left.counts.push_back(excluded ? 0.0f : 1.0f);
  filter(left, weights, {}, Unchanged{});
  std::vector<float> factors;
  for (size_t pixel = 0; pixel < image.excluded.size(); ++pixel)
    factors.push_back(image.excluded[pixel] ? 0 : 1 / left.counts[pixel]);
  return factors;
}

std::vector<float> gaussian_weights(double sigma) {
  if (!(sigma >= 0 && sigma <= 100))
    throw UserError("preprocess.sigma is " + std::to_string(sigma) + "; it must lie between 0 and 100");
  if (sigma == 0) return {1};
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
  return half;
}

std::vector<float> mean_weights(int64_t window) {
  if (window < 1 || window % 2 == 0)
    throw UserError("preprocess.xy_window is " + std::to_string(window) + "; it must be odd and positive");
  return Weights(static_cast<size_t>(window / 2 + 1), static_cast<float>(1.0 / static_cast<double>(window)));
}

void gaussian_filter(SpectrumImage& image, double sigma) {
  const Weights half = gaussian_weights(sigma);
  if (sigma == 0) return;
  fill_excluded(image.excluded, image.counts, 0);
  filter(image, half, half, Unchanged{});
  normalize(image, half);
}

void spatial_mean(SpectrumImage& image, int64_t window, const std::optional<LinearMap>& map) {
  const Weights half = mean_weights(window);
  if (window == 1 && !map) return;
  fill_excluded(image.excluded, image.counts, map ? map->zero : 0);
  if (map)
    filter(image, half, {}, *map);
  else
    filter(image, half, {}, Unchanged{});
  normalize(image, half);
}

}  // namespace eelsvae
