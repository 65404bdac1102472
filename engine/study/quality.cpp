#include "engine/study/quality.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "engine/image/excluded.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr int64_t window = 7, window_pixels = window * window;

// Two images (y, x, E) of which every channel is compared on its own.
struct ImagePair {
  const float *a, *b;
  int64_t height, width, channels;
};

// 1 at the top left corners (y, x) of windows that lie in the image and hold no excluded pixel.
std::vector<uint8_t> complete_windows(std::span<const uint8_t> excluded, int64_t height, int64_t width) {
  std::vector<uint8_t> complete(static_cast<size_t>(height * width));
  for (int64_t y = 0; y + window <= height; ++y)
    for (int64_t x = 0; x + window <= width; ++x) {
      bool free = true;
      for (int64_t i = 0; i < window_pixels && !excluded.empty(); ++i)
        free = free && !excluded[static_cast<size_t>((y + i / window) * width + x + i % window)];
      complete[static_cast<size_t>(y * width + x)] = free;
    }
  return complete;
}

// Structural similarity of the channels [first, first + 16), summed over the complete windows and channels.
double summed_similarity(const ImagePair& images, const std::vector<uint8_t>& complete, int64_t first,
                         double range) {
  constexpr size_t lanes = 16;
  using Lanes = std::array<double, lanes>;
  struct Sums {
    Lanes a{}, b{}, aa{}, bb{}, ab{};
  };
  const auto used = static_cast<size_t>(std::min<int64_t>(images.channels - first, lanes));
  const double c1 = 0.01 * range * (0.01 * range), c2 = 0.03 * range * (0.03 * range);
  const double n = window_pixels;
  std::vector<Sums> columns(static_cast<size_t>(images.width));
  double similarity = 0;
  for (int64_t y = 0; y + window <= images.height; ++y) {
    for (int64_t x = 0; x < images.width; ++x) {
      Sums sums;
      for (int64_t v = y; v < y + window; ++v) {
        const int64_t offset = (v * images.width + x) * images.channels + first;
        for (size_t i = 0; i < used; ++i) {
          const auto a = static_cast<double>(images.a[offset + static_cast<int64_t>(i)]);
          const auto b = static_cast<double>(images.b[offset + static_cast<int64_t>(i)]);
          sums.a[i] += a, sums.b[i] += b;
          sums.aa[i] += a * a, sums.bb[i] += b * b, sums.ab[i] += a * b;
        }
      }
      columns[static_cast<size_t>(x)] = sums;
    }
    for (int64_t x = 0; x + window <= images.width; ++x) {
      if (!complete[static_cast<size_t>(y * images.width + x)]) continue;
      Sums sums;
      for (int64_t u = x; u < x + window; ++u) {
        const Sums& column = columns[static_cast<size_t>(u)];
        for (size_t i = 0; i < used; ++i) {
          sums.a[i] += column.a[i], sums.b[i] += column.b[i];
          sums.aa[i] += column.aa[i], sums.bb[i] += column.bb[i], sums.ab[i] += column.ab[i];
        }
      }
      for (size_t i = 0; i < used; ++i) {
        const double a = sums.a[i] / n, b = sums.b[i] / n, sample = n / (n - 1);
        const double aa = sample * (sums.aa[i] / n - a * a), bb = sample * (sums.bb[i] / n - b * b);
        const double ab = sample * (sums.ab[i] / n - a * b);
        similarity += (2 * a * b + c1) * (2 * ab + c2) / ((a * a + b * b + c1) * (aa + bb + c2));
      }
    }
  }
  return similarity;
}

std::optional<double> mean_similarity(const ImagePair& images, std::span<const uint8_t> excluded,
                                      double range) {
  const std::vector<uint8_t> complete = complete_windows(excluded, images.height, images.width);
  const auto windows = std::count(complete.begin(), complete.end(), 1);
  if (windows == 0 || !(range > 0)) return std::nullopt;
  const int64_t blocks = (images.channels + 15) / 16;
  std::vector<double> sums(static_cast<size_t>(blocks));
#pragma omp parallel for schedule(dynamic)
  for (int64_t block = 0; block < blocks; ++block)
    sums[static_cast<size_t>(block)] = summed_similarity(images, complete, 16 * block, range);
  double sum = 0;
  for (double part : sums) sum += part;
  return sum / static_cast<double>(windows * images.channels);
}

// What one spectrum adds to the measures.
struct SpectrumSums {
  float smallest = std::numeric_limits<float>::infinity(), largest = -smallest;
  float observed = 0, expected = 0;  // totals
  double squares = 0, deviance = 0;
};

SpectrumSums compare_spectra(int64_t pixel, const float* observed, const float* expected, int64_t channels,
                             const NoiseModel& noise, std::vector<double>& residual) {
  SpectrumSums sums;
  double total = 0, expected_total = 0;
  for (int64_t e = 0; e < channels; ++e) {
    const double model = static_cast<double>(expected[e]),
                 difference = static_cast<double>(observed[e]) - model;
    residual[static_cast<size_t>(e)] = difference;
    sums.smallest = std::min(sums.smallest, observed[e]);
    sums.largest = std::max(sums.largest, observed[e]);
    total += static_cast<double>(observed[e]);
    expected_total += model;
    sums.squares += difference * difference;
    sums.deviance += difference * difference / noise.variance(pixel, e, model);
  }
  sums.observed = static_cast<float>(total);
  sums.expected = static_cast<float>(expected_total);
  return sums;
}

}  // namespace

ReconstructionQuality reconstruction_quality(const SpectrumImage& observed, std::span<const float> expected,
                                             const NoiseModel& noise, int64_t lags) {
  const int64_t channels = observed.energy.size, pixels = observed.pixels();
  expect(expected.size() == observed.counts.size(), "expected spectra of another size than the image");
  expect(noise.floor > 0 && noise.gain >= 0, "a noise model without a positive floor");
  expect(0 <= lags && lags < channels, "a lag beyond the energy axis");
  const std::vector<uint8_t>& excluded = observed.excluded;
  const int64_t counted = pixels - excluded_pixels(excluded);
  expect(counted > 0, "an image without pixels that count");

  std::vector<SpectrumSums> spectra(static_cast<size_t>(pixels));
  std::vector<double> correlations(static_cast<size_t>(pixels * lags));
#pragma omp parallel
  {
    std::vector<double> residual(static_cast<size_t>(channels));
#pragma omp for schedule(static)
    for (int64_t pixel = 0; pixel < pixels; ++pixel) {
      if (!excluded.empty() && excluded[static_cast<size_t>(pixel)]) continue;
      const SpectrumSums sums = compare_spectra(
          pixel, observed.spectrum(pixel), expected.data() + pixel * channels, channels, noise, residual);
      spectra[static_cast<size_t>(pixel)] = sums;
      for (int64_t lag = 1; lag <= lags && sums.squares > 0; ++lag) {
        double products = 0;
#pragma omp simd reduction(+ : products)
        for (int64_t e = 0; e < channels - lag; ++e)
          products += residual[static_cast<size_t>(e)] * residual[static_cast<size_t>(e + lag)];
        correlations[static_cast<size_t>(pixel * lags + lag - 1)] = products / sums.squares;
      }
    }
  }

  ReconstructionQuality quality;
  quality.residual_autocorrelation.resize(static_cast<size_t>(lags));
  SpectrumSums all;
  float darkest = std::numeric_limits<float>::infinity(), brightest = -darkest;
  int64_t with_residual = 0;
  std::vector<float> maps[2];
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    const SpectrumSums& sums = spectra[static_cast<size_t>(pixel)];
    maps[0].push_back(sums.observed);
    maps[1].push_back(sums.expected);
    if (!excluded.empty() && excluded[static_cast<size_t>(pixel)]) continue;
    all.smallest = std::min(all.smallest, sums.smallest);
    all.largest = std::max(all.largest, sums.largest);
    darkest = std::min(darkest, sums.observed);
    brightest = std::max(brightest, sums.observed);
    all.squares += sums.squares;
    all.deviance += sums.deviance;
    with_residual += sums.squares > 0;
    for (int64_t lag = 0; lag < lags; ++lag)
      quality.residual_autocorrelation[static_cast<size_t>(lag)] +=
          correlations[static_cast<size_t>(pixel * lags + lag)];
  }
  const auto samples = static_cast<double>(counted * channels);
  const double range = static_cast<double>(all.largest) - static_cast<double>(all.smallest);
  if (range > 0) quality.psnr_db = 10 * std::log10(range * range / (all.squares / samples));
  quality.reduced_deviance = all.deviance / samples;
  for (double& correlation : quality.residual_autocorrelation)
    correlation /= static_cast<double>(std::max<int64_t>(with_residual, 1));
  const int64_t height = observed.y.size, width = observed.x.size;
  quality.ssim_map = mean_similarity({maps[0].data(), maps[1].data(), height, width, 1}, excluded,
                                     static_cast<double>(brightest) - static_cast<double>(darkest));
  quality.ssim_channels =
      mean_similarity({observed.counts.data(), expected.data(), height, width, channels}, excluded, range);
  return quality;
}

}  // namespace eelsvae
