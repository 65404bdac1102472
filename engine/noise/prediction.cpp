#include "engine/noise/prediction.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "engine/image/excluded.h"
#include "engine/noise/filtered_noise.h"
#include "engine/noise/noise_model.h"
#include "engine/prepare/preprocess.h"
#include "kernels/error.h"
#include "kernels/philox.h"

namespace eelsvae {
namespace {

constexpr size_t most_values = size_t{1} << 24;
// Of the fresh noise, in standard deviations: enough for predictions that are rounded to bf16, not so much
// that a network meets spectra that it does not know.
constexpr double step = 0.5;

// Noise of variance 1, correlated as the filters leave it, for a rectangle.
std::vector<float> draw_noise(int64_t height, int64_t width, int64_t channels,
                              const PreprocessConfig& preprocess, uint64_t seed, int64_t number) {
  const int64_t margin = noise_lag(preprocess.sigma, preprocess.xy_window);
  SpectrumImage noise;
  noise.y.size = height + 2 * margin;
  noise.x.size = width + 2 * margin;
  noise.energy.size = channels;
  noise.counts.resize(static_cast<size_t>(noise.pixels() * channels));
#pragma omp parallel for schedule(static)
  for (int64_t pixel = 0; pixel < noise.pixels(); ++pixel)
    for (int64_t e = 0; e < channels; e += 2) {
      const Philox4 draw = philox(seed, RandomStream::prediction, static_cast<uint64_t>(number),
                                  static_cast<uint64_t>(pixel * channels + e));
      const NormalPair pair = normal_pair(draw.v[0], draw.v[1]);
      noise.spectrum(pixel)[e] = static_cast<float>(pair.first);
      if (e + 1 < channels) noise.spectrum(pixel)[e + 1] = static_cast<float>(pair.second);
    }
  PreprocessConfig filters = preprocess;  // all that it does to noise
  filters.scaling_method = Scaling::none;
  smooth_and_scale(noise, filters);
  std::vector<float> inner;
  double squares = 0;
  for (int64_t y = margin; y < margin + height; ++y)
    for (int64_t x = margin; x < margin + width; ++x) {
      const float* spectrum = noise.spectrum(y * noise.x.size + x);
      inner.insert(inner.end(), spectrum, spectrum + channels);
      for (int64_t e = 0; e < channels; ++e)
        squares += static_cast<double>(spectrum[e]) * static_cast<double>(spectrum[e]);
    }
  const auto unit = static_cast<float>(std::sqrt(static_cast<double>(inner.size()) / squares));
  for (float& value : inner) value *= unit;
  return inner;
}

// Leaves out the 2 % of the counted spectra that depart most from the expected ones: a hot pixel or an
// anomaly says nothing of how well normal spectra are predicted, and would outweigh hundreds of them.
void leave_out_outlying(const PredictionSample& sample, const CountArray& expected,
                        std::vector<uint8_t>& counts) {
  constexpr double outlying = 0.02;
  const int64_t channels = sample.observed.energy.size;
  std::vector<std::pair<double, size_t>> departures;
  for (size_t pixel = 0; pixel < counts.size(); ++pixel) {
    if (!counts[pixel]) continue;
    double sum = 0;
    for (size_t at = pixel * static_cast<size_t>(channels); at < (pixel + 1) * static_cast<size_t>(channels);
         ++at) {
      const auto r = static_cast<double>(sample.observed.counts[at] - expected[at]);
      sum += r * r / static_cast<double>(sample.variance[at]);
    }
    departures.emplace_back(-sum, pixel);
  }
  std::ranges::sort(departures);
  departures.resize(static_cast<size_t>(outlying * static_cast<double>(departures.size())));
  for (const auto& [departure, pixel] : departures) counts[pixel] = 0;
}

// The noise of rectangles (height, width), one below the other, beyond what the four pixels say that lie
// `lag` away diagonally: a specimen that changes evenly over a rectangle adds nothing to it. Pixels without
// these four do not count. UserError as estimate_noise().
NoiseModel noise_beside_slopes(SpectrumImageView image, int64_t height, int64_t lag,
                               std::vector<float> pixel_factor) {
  const int64_t channels = image.energy.size, width = image.x.size;
  std::vector<uint8_t> left_out(static_cast<size_t>(image.pixels()), 1);
  CountArray expected(image.counts.size());
  for (int64_t row = 0; row < image.y.size; ++row)
    for (int64_t x = lag; x + lag < width; ++x) {
      const int64_t pixel = row * width + x, y = row % height;
      if (y < lag || y + lag >= height) continue;
      const std::array<int64_t, 5> pixels = {pixel, pixel - lag * width - lag, pixel - lag * width + lag,
                                             pixel + lag * width - lag, pixel + lag * width + lag};
      if (!image.excluded.empty() &&
          std::ranges::any_of(pixels, [&](int64_t p) { return image.excluded[static_cast<size_t>(p)] != 0; }))
        continue;
      left_out[static_cast<size_t>(pixel)] = 0;
      for (size_t k = 1; k < pixels.size(); ++k)
        for (int64_t e = 0; e < channels; ++e)
          expected[static_cast<size_t>(pixel * channels + e)] += image.spectrum(pixels[k])[e] / 4;
    }
  image.excluded = left_out;
  NoiseModel noise = estimate_noise(image, expected, lag, std::move(pixel_factor));
  constexpr double with_that_of_four = 1.25;
  noise.floor /= with_that_of_four;
  noise.gain /= with_that_of_four;
  // They are never below 1, which would make the unit of all deviances larger than the noise is.
  noise.channel_factor.clear();
  return noise;
}

// The mean spectrum, as bright as each pixel where brightness can be told: enough for the noise's level.
CountArray scaled_mean(const SpectrumImage& image) {
  const int64_t channels = image.energy.size;
  std::vector<double> mean(static_cast<size_t>(channels)), totals(static_cast<size_t>(image.pixels()));
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel)
    for (int64_t e = 0; e < channels; ++e) {
      const auto value = static_cast<double>(image.spectrum(pixel)[e]);
      mean[static_cast<size_t>(e)] += value;
      totals[static_cast<size_t>(pixel)] += value;
    }
  double total = 0, size = 0;
  for (double& value : mean) total += value, size += std::abs(value);
  const bool positive = total > 1e-9 * size;
  CountArray expected(image.counts.size());
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel) {
    const double share =
        positive ? totals[static_cast<size_t>(pixel)] / total : 1 / static_cast<double>(image.pixels());
    for (int64_t e = 0; e < channels; ++e)
      expected[static_cast<size_t>(pixel * channels + e)] =
          static_cast<float>(share * mean[static_cast<size_t>(e)]);
  }
  return expected;
}

}  // namespace

int64_t PredictionSample::spectra() const {
  return observed.pixels() - excluded_pixels(observed.excluded);
}

SpectrumImageView PredictionSample::rectangle(int64_t i, bool with_fresh_noise) const {
  const SpectrumImageView all(observed.y, observed.x, observed.energy,
                              with_fresh_noise ? disturbed : observed.counts);
  return all.rows(i * height, (i + 1) * height);
}

std::optional<PredictionSample> make_prediction_sample(const SpectrumImageView& prepared,
                                                       std::vector<TileOrigin> origins, int64_t height,
                                                       int64_t width, std::span<const uint8_t> counted,
                                                       const PreprocessConfig& preprocess, uint64_t seed) {
  expect(std::ssize(counted) == prepared.pixels(), "a mask of another size than the image");
  const int64_t channels = prepared.energy.size, lag = noise_lag(preprocess.sigma, preprocess.xy_window);
  if (origins.empty() || width <= lag) return std::nullopt;
  const size_t room = std::max<size_t>(most_values / static_cast<size_t>(height * width * channels), 1);
  if (origins.size() > room) {
    std::vector<TileOrigin> some;
    for (size_t i = 0; i < room; ++i) some.push_back(origins[i * origins.size() / room]);
    origins = std::move(some);
  }

  PredictionSample sample;
  sample.height = height;
  SpectrumImage& observed = sample.observed;
  observed.energy = prepared.energy;
  observed.x.size = width;
  observed.y.size = std::ssize(origins) * height;
  observed.counts.resize(static_cast<size_t>(observed.pixels() * channels));
  observed.excluded.resize(static_cast<size_t>(observed.pixels()));
  std::vector<uint8_t> counts(observed.excluded.size());
  const std::vector<float> factors = filtered_noise(prepared, preprocess.sigma, preprocess.xy_window);
  std::vector<float> factor(observed.excluded.size());
  for (int64_t i = 0; i < std::ssize(origins); ++i)
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < width; ++x) {
        const TileOrigin origin = origins[static_cast<size_t>(i)];
        const int64_t from = (origin.y + y) * prepared.x.size + origin.x + x;
        const int64_t to = (i * height + y) * width + x;
        std::copy_n(prepared.spectrum(from), channels, observed.spectrum(to));
        const auto f = static_cast<size_t>(from), t = static_cast<size_t>(to);
        if (!prepared.excluded.empty()) observed.excluded[t] = prepared.excluded[f];
        counts[t] = counted[f] && !observed.excluded[t];
        factor[t] = factors[f];
      }
  if (std::ranges::find(counts, 1) == counts.end()) return std::nullopt;

  NoiseModel noise;
  try {
    noise = noise_beside_slopes(observed, height, lag, std::move(factor));
  } catch (const UserError&) {
    return std::nullopt;
  }
  const CountArray expected = scaled_mean(observed);
  sample.variance.resize(observed.counts.size());
  sample.disturbed.resize(observed.counts.size());
  const int64_t in_rectangle = height * width;
  for (int64_t i = 0; i < std::ssize(origins); ++i) {
    const std::vector<float> fresh = draw_noise(height, width, channels, preprocess, seed, i);
#pragma omp parallel for schedule(static)
    for (int64_t pixel = i * in_rectangle; pixel < (i + 1) * in_rectangle; ++pixel)
      for (int64_t e = 0; e < channels; ++e) {
        const auto at = static_cast<size_t>(pixel * channels + e);
        const double variance = noise.variance(pixel, e, static_cast<double>(expected[at]));
        sample.variance[at] = static_cast<float>(variance);
        sample.disturbed[at] =
            observed.counts[at] + static_cast<float>(step * std::sqrt(variance)) *
                                      fresh[at - static_cast<size_t>(i * in_rectangle * channels)];
      }
  }
  leave_out_outlying(sample, expected, counts);
  for (size_t pixel = 0; pixel < counts.size(); ++pixel) observed.excluded[pixel] = counts[pixel] == 0;
  return sample;
}

void take_totals(const SpectrumImageView& observed, std::span<float> expected) {
  const int64_t channels = observed.energy.size;
#pragma omp parallel for schedule(static)
  for (int64_t pixel = 0; pixel < observed.pixels(); ++pixel) {
    const float* o = observed.spectrum(pixel);
    const std::span<float> x =
        expected.subspan(static_cast<size_t>(pixel * channels), static_cast<size_t>(channels));
    double of_observed = 0, of_expected = 0;
    for (int64_t e = 0; e < channels; ++e) {
      of_observed += static_cast<double>(o[e]);
      of_expected += static_cast<double>(x[static_cast<size_t>(e)]);
    }
    if (!(of_observed > 0 && of_expected > 0)) continue;
    const auto factor = static_cast<float>(of_observed / of_expected);
    for (float& value : x) value *= factor;
  }
}

double predictive_deviance(const PredictionSample& sample, std::span<const float> expected,
                           std::span<const float> of_disturbed) {
  const SpectrumImage& observed = sample.observed;
  expect(expected.size() == observed.counts.size() && of_disturbed.size() == expected.size(),
         "predictions of another size than the sample");
  const int64_t channels = observed.energy.size;
  std::vector<double> of_pixel(static_cast<size_t>(observed.pixels()));
#pragma omp parallel for schedule(static)
  for (int64_t pixel = 0; pixel < observed.pixels(); ++pixel) {
    if (observed.excluded[static_cast<size_t>(pixel)]) continue;
    double sum = 0;
    for (auto at = static_cast<size_t>(pixel * channels); at < static_cast<size_t>((pixel + 1) * channels);
         ++at) {
      const double o = static_cast<double>(observed.counts[at]), x = static_cast<double>(expected[at]),
                   b = static_cast<double>(sample.disturbed[at]) - o,
                   followed = static_cast<double>(of_disturbed[at]) - x;
      sum +=
          ((o - x) * (o - x) + 2 / (step * step) * b * followed) / static_cast<double>(sample.variance[at]);
    }
    of_pixel[static_cast<size_t>(pixel)] = sum;
  }
  double sum = 0;
  for (double value : of_pixel) sum += value;
  return sum / static_cast<double>(sample.spectra() * channels);
}

}  // namespace eelsvae
