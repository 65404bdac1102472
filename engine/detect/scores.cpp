#include "engine/detect/scores.h"

#include <algorithm>
#include <cmath>

#include "engine/per_thread.h"
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

// 1 - r of what `prepare` makes of the window's channels of both spectra.
template <typename Prepare>
std::vector<float> correlation_scores(const SpectrumImageView& observed, std::span<const float> expected,
                                      ChannelWindow window, Prepare&& prepare) {
  expect(expected.size() == observed.counts.size(), "expected spectra of another size");
  expect(0 <= window.first && window.first < window.last && window.last <= observed.energy.size,
         "score window outside the energy axis");
  std::vector<float> scores(static_cast<size_t>(observed.pixels()));
  PerThread<std::vector<float>> one(static_cast<size_t>(window.size())),
      other(static_cast<size_t>(window.size()));
#pragma omp parallel
  {
    std::vector<float>&a = one.own(), &b = other.own();
#pragma omp for schedule(static)
    for (int64_t pixel = 0; pixel < observed.pixels(); ++pixel) {
      const float* first = prepare(observed.spectrum(pixel) + window.first, a.data());
      const float* second = prepare(expected.data() + pixel * observed.energy.size + window.first, b.data());
      scores[static_cast<size_t>(pixel)] = static_cast<float>(1 - pearson(first, second, window.size()));
    }
  }
  return scores;
}

// The weights with which a local straight line at a channel depends on the channels around it.
struct LocalLine {
  int64_t first = 0;
  std::vector<float> weights;
};

std::vector<LocalLine> local_lines(int64_t channels, double smoothing) {
  const auto reach = static_cast<int64_t>(std::ceil(3 * smoothing));
  std::vector<LocalLine> lines(static_cast<size_t>(channels));
  for (int64_t e = 0; e < channels; ++e) {
    LocalLine& line = lines[static_cast<size_t>(e)];
    line.first = std::max<int64_t>(0, e - reach);
    const int64_t last = std::min(channels, e + reach + 1);
    double s0 = 0, s1 = 0, s2 = 0;
    std::vector<double> kernel;
    for (int64_t i = line.first; i < last; ++i) {
      const auto d = static_cast<double>(i - e);
      const double k = std::exp(-d * d / (2 * smoothing * smoothing));
      kernel.push_back(k);
      s0 += k;
      s1 += k * d;
      s2 += k * d * d;
    }
    const double determinant = s0 * s2 - s1 * s1;
    for (int64_t i = line.first; i < last; ++i) {
      const double k = kernel[static_cast<size_t>(i - line.first)], d = static_cast<double>(i - e);
      line.weights.push_back(static_cast<float>(determinant > 0 ? k * (s2 - s1 * d) / determinant : k / s0));
    }
  }
  return lines;
}

}  // namespace

std::vector<float> pearson_scores(const SpectrumImageView& observed, std::span<const float> expected,
                                  ChannelWindow window) {
  return correlation_scores(observed, expected, window,
                            [](const float* spectrum, float*) { return spectrum; });
}

std::vector<float> pearson_background_scores(const SpectrumImageView& observed,
                                             std::span<const float> expected, ChannelWindow window,
                                             double smoothing) {
  expect(smoothing > 0, "the background's smoothing must be positive");
  const std::vector<LocalLine> lines = local_lines(window.size(), smoothing);
  return correlation_scores(observed, expected, window, [&](const float* spectrum, float* out) {
    for (size_t e = 0; e < lines.size(); ++e) {
      const LocalLine& line = lines[e];
      const float* part = spectrum + line.first;
      float background = 0;
#pragma omp simd reduction(+ : background)
      for (size_t i = 0; i < line.weights.size(); ++i) background += line.weights[i] * part[i];
      out[e] = spectrum[e] - background;
    }
    return out;
  });
}

std::vector<float> deviance_scores(const SpectrumImageView& observed, std::span<const float> expected,
                                   const ResidualModel& model, ChannelWindow window) {
  expect(expected.size() == observed.counts.size(), "expected spectra of another size");
  std::vector<float> scores(static_cast<size_t>(observed.pixels()));
  const int64_t channels = observed.energy.size;
  PerThread<std::vector<float>> room(static_cast<size_t>(channels));
#pragma omp parallel
  {
    std::vector<float>& z = room.own();
#pragma omp for schedule(static)
    for (int64_t pixel = 0; pixel < observed.pixels(); ++pixel) {
      model.whiten(pixel, observed.spectrum(pixel), expected.data() + pixel * channels, z.data());
      double sum = 0;
      for (int64_t e = window.first; e < window.last; ++e)
        sum +=
            static_cast<double>(z[static_cast<size_t>(e)]) * static_cast<double>(z[static_cast<size_t>(e)]);
      scores[static_cast<size_t>(pixel)] = static_cast<float>(sum / static_cast<double>(window.size()));
    }
  }
  return scores;
}

std::vector<double> latent_rarity(std::span<const float> latent, int64_t units) {
  const int64_t tiles = std::ssize(latent) / units;
  auto value = [&](int64_t tile, int64_t unit) {
    return static_cast<double>(latent[static_cast<size_t>(tile * units + unit)]);
  };
  std::vector<int64_t> active;
  std::vector<double> variances;
  for (int64_t unit = 0; unit < units; ++unit) {
    double sum = 0, squares = 0;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      sum += value(tile, unit);
      squares += value(tile, unit) * value(tile, unit);
    }
    const double mean = sum / static_cast<double>(tiles),
                 variance = squares / static_cast<double>(tiles) - mean * mean;
    if (!(variance > 0.01)) continue;
    active.push_back(unit);
    variances.push_back(variance);
  }
  std::vector<double> rarity(static_cast<size_t>(tiles));
  if (active.empty() || tiles < 2) return rarity;
  const double factor = std::pow(static_cast<double>(tiles), -2.0 / (static_cast<double>(active.size()) + 4));
  std::vector<double> log_density(static_cast<size_t>(tiles));
  for (int64_t tile = 0; tile < tiles; ++tile) {
    std::vector<double> exponents;
    for (int64_t other = 0; other < tiles; ++other) {
      if (other == tile) continue;
      double distance = 0;
      for (size_t j = 0; j < active.size(); ++j) {
        const double d = value(tile, active[j]) - value(other, active[j]);
        distance += d * d / (variances[j] * factor);
      }
      exponents.push_back(-distance / 2);
    }
    const double largest = *std::max_element(exponents.begin(), exponents.end());
    double sum = 0;
    for (double exponent : exponents) sum += std::exp(exponent - largest);
    log_density[static_cast<size_t>(tile)] = largest + std::log(sum);
  }
  const double densest = *std::max_element(log_density.begin(), log_density.end());
  for (size_t tile = 0; tile < rarity.size(); ++tile) rarity[tile] = densest - log_density[tile];
  return rarity;
}

std::vector<float> latent_scores(const std::vector<float>& pearson, const SpectrumImageView& observed,
                                 const TileGrid& grid, std::span<const double> rarity, Blend blend) {
  BlendedCube map(observed.y.size, observed.x.size, 1, grid.tile, blend);
  for (int64_t tile = 0; tile < grid.size(); ++tile) {
    const std::vector<float> everywhere(static_cast<size_t>(grid.tile * grid.tile),
                                        static_cast<float>(rarity[static_cast<size_t>(tile)]));
    map.add(grid.origins[static_cast<size_t>(tile)], everywhere.data());
  }
  const CountArray rarities = map.take();
  std::vector<float> scores = pearson;
  for (size_t pixel = 0; pixel < scores.size(); ++pixel) scores[pixel] *= 1 + rarities[pixel];
  return scores;
}

}  // namespace eelsvae
