#include "engine/noise/noise_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "kernels/error.h"

namespace eelsvae {
namespace {

// Differences of so many pairs of pixels give a channel's variance to 2 %.
constexpr int64_t most_pairs = 8192;

// Noise whose neighbours correlate by r has variances between 1 - 2 r and 1 + 2 r along energy. A matched
// filter that takes it for white loses at most 4 r^2 of the squared signal-to-noise ratio (Kantorovich's
// inequality): 1 %.
constexpr double least_correlation = 0.05;

// A channel may have less noise than the affine law says, if it has some, less by a quarter and by four
// standard deviations (2.9 / sqrt(n) of a variance from the median of n differences that share pixels), and
// values that are not clipped: of subtracted backgrounds what is below 0 is cut off, and what is above has
// noise that does not grow.
constexpr double some_noise = 0.05, most_clipped = 0.01;
double clearly_less(int64_t differences) {
  return 1 - std::max(0.25, 4 * 2.9 / std::sqrt(static_cast<double>(differences)));
}

using Pairs = std::vector<std::pair<int64_t, int64_t>>;

Pairs pairs_apart(const SpectrumImageView& image, int64_t lag) {
  const bool along_x = image.x.size > lag;
  const int64_t dy = along_x ? 0 : lag, dx = along_x ? lag : 0;
  auto usable = [&](int64_t pixel) {
    return image.excluded.empty() || !image.excluded[static_cast<size_t>(pixel)];
  };
  Pairs pairs;
  for (int64_t y = 0; y + dy < image.y.size; ++y)
    for (int64_t x = 0; x + dx < image.x.size; ++x) {
      const int64_t first = y * image.x.size + x, second = first + dy * image.x.size + dx;
      if (usable(first) && usable(second)) pairs.push_back({first, second});
    }
  const int64_t step = std::ssize(pairs) / most_pairs + 1;
  Pairs sample;
  for (int64_t i = 0; i < std::ssize(pairs); i += step) sample.push_back(pairs[static_cast<size_t>(i)]);
  return sample;
}

// The variance of one pixel, from absolute differences of two by their median. Reorders them.
double variance_of(std::span<float> differences) {
  const auto middle = differences.begin() + std::ssize(differences) / 2;
  std::nth_element(differences.begin(), middle, differences.end());
  const double spread = 1.4826 * static_cast<double>(*middle);
  return spread * spread / 2;
}

// The variance of differences that are alike in what is expected there, whichever pixels and channels they
// are of: where dim and bright pixels meet, a channel's differences alone are of no one size. Returns mean
// levels, ascending, and variances.
std::pair<std::vector<double>, std::vector<double>> spreads_by_level(std::span<const float> levels,
                                                                     std::span<const float> differences,
                                                                     int64_t channels) {
  constexpr size_t bins = 128, most = bins * 8192;  // samples; so many give a variance to 2 %
  size_t step = levels.size() / most + 1;
  while (std::gcd(step, static_cast<size_t>(channels)) > 1) ++step;  // all channels take part
  std::vector<std::pair<float, float>> samples;
  for (size_t i = 0; i < levels.size(); i += step) samples.emplace_back(levels[i], std::abs(differences[i]));
  std::ranges::sort(samples, {},
                    &std::pair<float, float>::first);  // not by difference where levels are equal
  std::vector<double> level, variance;
  const size_t used = std::min(bins, samples.size());
  for (size_t bin = 0; bin < used; ++bin) {
    const auto part = std::span(samples).subspan(
        samples.size() * bin / used, samples.size() * (bin + 1) / used - samples.size() * bin / used);
    std::vector<float> spread;
    double sum = 0;
    for (const auto& [expected, difference] : part) {
      sum += static_cast<double>(expected);
      spread.push_back(difference);
    }
    level.push_back(sum / static_cast<double>(part.size()));
    variance.push_back(variance_of(spread));
  }
  return {std::move(level), std::move(variance)};
}

// How the noise of channels 1, 2, ... apart correlates, from differences of pairs (pairs, channels) over the
// root of floor + gain * level; empty if it matters to nobody. Differences are cut off at three standard
// deviations, so that the few pairs that hold an anomaly or a border do not decide, and of what the channels
// say the median is taken, so that a few edges that vary over the specimen do not either. What varies in most
// channels is alike over many of them, and noise is not: the straight line through what is found between
// once and twice as many lags is taken for the specimen's.
std::vector<double> correlation_along_energy(std::span<const float> differences,
                                             std::span<const float> channel_factor) {
  constexpr int64_t block = 64, most_lags = 4;
  constexpr float cut_off = 3;
  const int64_t channels = std::ssize(channel_factor), pairs = std::ssize(differences) / channels,
                lags = std::min(most_lags, channels / 8);
  if (lags == 0) return {};
  std::vector<float> unit;  // a difference has the noise of two
  for (float factor : channel_factor) unit.push_back(1 / std::sqrt(2 * factor));
  std::vector<double> sums(static_cast<size_t>((2 * lags + 1) * channels));  // of products, (lag, channel)
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < channels; first += block) {
    const int64_t last = std::min(first + block, channels), end = std::min(last + 2 * lags, channels);
    std::array<double, block + 2 * most_lags> u = {};
    for (int64_t p = 0; p < pairs; ++p) {
      const float* difference = differences.data() + p * channels;
      for (int64_t e = first; e < end; ++e)
        u[static_cast<size_t>(e - first)] =
            static_cast<double>(std::clamp(unit[static_cast<size_t>(e)] * difference[e], -cut_off, cut_off));
      for (int64_t lag = 0; lag <= 2 * lags; ++lag) {
        double* sum = sums.data() + lag * channels + first;
        for (int64_t i = 0; i < last - first; ++i)
          sum[i] += u[static_cast<size_t>(i)] * u[static_cast<size_t>(i + lag)];
      }
    }
  }
  auto at_lag = [&](int64_t lag) {
    std::vector<double> of_channels;
    for (int64_t e = 0; e + lag < channels; ++e) {
      const double squares = sums[static_cast<size_t>(e)] * sums[static_cast<size_t>(e + lag)];
      of_channels.push_back(squares > 0 ? sums[static_cast<size_t>(lag * channels + e)] / std::sqrt(squares)
                                        : 0);
    }
    const auto middle = of_channels.begin() + std::ssize(of_channels) / 2;
    std::nth_element(of_channels.begin(), middle, of_channels.end());
    return *middle;
  };
  const double middle = static_cast<double>(3 * lags + 1) / 2;
  double mean = 0, slope = 0, squares = 0;
  for (int64_t lag = lags + 1; lag <= 2 * lags; ++lag) {
    const double found = at_lag(lag), beside = static_cast<double>(lag) - middle;
    mean += found / static_cast<double>(lags);
    slope += found * beside;
    squares += beside * beside;
  }
  slope = squares > 0 ? std::min(slope / squares, 0.0) : 0;  // the farther, the less alike
  auto specimen = [&](int64_t lag) { return mean + slope * (static_cast<double>(lag) - middle); };
  // Where the line falls by as much as a quarter of noise's share, what bends it would pass for noise.
  if (specimen(0) - specimen(lags) > (1 - specimen(0)) / 4) return {};
  std::vector<double> correlation;
  double largest = 0;
  for (int64_t lag = 1; lag <= lags; ++lag) {
    correlation.push_back((at_lag(lag) - specimen(lag)) / (1 - specimen(0)));
    largest = std::max(largest, std::abs(correlation.back()));
  }
  // The standard deviation of a median is 1.25 times a mean's, pairs that share a pixel say half of it twice,
  // and the line's value is less certain than a single one.
  const double chance = 3 * 1.25 * std::sqrt(1.5 / static_cast<double>(pairs * channels)) / (1 - specimen(0));
  if (largest < std::max(5 * chance, least_correlation)) return {};
  return correlation;
}

// variance ~ floor + gain * level with floor, gain >= 0, by least squares on errors relative to the line,
// which is found in rounds: errors relative to what was measured would let a channel that shows next to
// nothing, because it is clipped, decide alone.
NoiseModel fit_line(const std::vector<double>& level, const std::vector<double>& variance) {
  NoiseModel model{std::accumulate(variance.begin(), variance.end(), 0.0), 0, {}};
  for (int round = 0; round < 8; ++round) {
    double w0 = 0, w1 = 0, w2 = 0, t0 = 0, t1 = 0;
    for (size_t e = 0; e < level.size(); ++e) {
      if (!(variance[e] > 0)) continue;
      const double line = model.floor + model.gain * level[e], weight = 1 / (line * line);
      w0 += weight;
      w1 += weight * level[e];
      w2 += weight * level[e] * level[e];
      t0 += weight * variance[e];
      t1 += weight * variance[e] * level[e];
    }
    const double determinant = w0 * w2 - w1 * w1;
    if (determinant > 1e-12 * w0 * w2) {
      model.floor = (w2 * t0 - w1 * t1) / determinant;
      model.gain = (w0 * t1 - w1 * t0) / determinant;
    } else {
      model = {t0 / w0, 0, {}};  // every channel is as bright: gain and floor cannot be told apart
    }
    if (model.gain < 0) model = {t0 / w0, 0, {}};
    // Without any floor, a channel in which nothing is expected would have no noise at all.
    const double least = 1e-3 * t1 / w2 * w1 / w0;
    if (model.floor < least) model = {least, t1 / w2, {}};
  }
  return model;
}

// (E) The share of a channel's values, at the first pixels of the pairs, that are the largest or the smallest
// of all.
std::vector<float> clipped_shares(const SpectrumImageView& observed, const Pairs& pairs) {
  const int64_t channels = observed.energy.size;
  float least = std::numeric_limits<float>::infinity(), most = -least;
  for (const auto& [pixel, other] : pairs)
    for (const float value : std::span(observed.spectrum(pixel), static_cast<size_t>(channels))) {
      least = std::min(least, value);
      most = std::max(most, value);
    }
  std::vector<int64_t> at_an_end(static_cast<size_t>(channels));
  for (const auto& [pixel, other] : pairs)
    for (int64_t e = 0; e < channels; ++e) {
      const float value = observed.spectrum(pixel)[e];
      at_an_end[static_cast<size_t>(e)] += value == least || value == most;
    }
  std::vector<float> clipped;
  for (const int64_t count : at_an_end)
    clipped.push_back(
        static_cast<float>(static_cast<double>(count) / static_cast<double>(std::ssize(pairs))));
  return clipped;
}

}  // namespace

double NoiseModel::variance(int64_t pixel, int64_t channel, double expected) const {
  auto factor = [](const std::vector<float>& factors, int64_t i) {
    return factors.empty() ? 1 : static_cast<double>(factors[static_cast<size_t>(i)]);
  };
  return factor(pixel_factor, pixel) * factor(channel_factor, channel) *
         (floor + gain * std::max(expected, 0.0));
}

NoiseModel estimate_noise(const SpectrumImageView& observed, std::span<const float> expected, int64_t lag,
                          std::vector<float> pixel_factor) {
  expect(expected.size() == observed.counts.size(), "expected spectra of another size");
  const Pairs pairs = pairs_apart(observed, lag);
  if (pairs.empty())
    throw UserError("the noise cannot be measured: no two pixels of the image, " +
                    std::to_string(observed.y.size) + " x " + std::to_string(observed.x.size) + ", lie " +
                    std::to_string(lag) +
                    " apart that are not excluded; take a larger image, or preprocess.sigma=0 and "
                    "preprocess.xy_window=1");
  const int64_t channels = observed.energy.size, count = std::ssize(pairs);
  // Pair by pair, for what is observed and expected may lie on a disk: (pairs, channels).
  CountArray differences(static_cast<size_t>(count * channels)), levels(differences.size());
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < count; ++p) {
    const auto [a, b] = pairs[static_cast<size_t>(p)];
    // A difference has the noise of both.
    const float unit =
        pixel_factor.empty()
            ? 1
            : std::sqrt(2 / (pixel_factor[static_cast<size_t>(a)] + pixel_factor[static_cast<size_t>(b)]));
    const float *x = observed.spectrum(a), *y = observed.spectrum(b), *of_x = expected.data() + a * channels,
                *of_y = expected.data() + b * channels;
    for (int64_t e = 0; e < channels; ++e)
      differences[static_cast<size_t>(p * channels + e)] = unit * ((x[e] - of_x[e]) - (y[e] - of_y[e]));
    for (int64_t e = 0; e < channels; ++e)
      levels[static_cast<size_t>(p * channels + e)] = std::max((of_x[e] + of_y[e]) / 2, 0.0f);
  }
  const auto [level, variance] = spreads_by_level(levels, differences, channels);
  if (std::none_of(variance.begin(), variance.end(), [](double v) { return v > 0; }))
    throw UserError("the noise cannot be measured: neighbouring pixels do not differ");
  NoiseModel model = fit_line(level, variance);
  model.channel_factor.resize(static_cast<size_t>(channels));
  model.clipped = clipped_shares(observed, pairs);
  constexpr int64_t block = 16;  // channels that are gathered together, a cache line of each pair
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < channels; first += block) {
    const int64_t last = std::min(first + block, channels);
    std::vector<std::vector<float>> of_channel(static_cast<size_t>(last - first));
    for (int64_t p = 0; p < count; ++p)
      for (int64_t e = first; e < last; ++e) {
        const auto i = static_cast<size_t>(p * channels + e);
        const double affine = model.floor + model.gain * static_cast<double>(levels[i]);
        differences[i] /= static_cast<float>(std::sqrt(affine));
        of_channel[static_cast<size_t>(e - first)].push_back(std::abs(differences[i]));
      }
    for (int64_t e = first; e < last; ++e) {
      const double factor = variance_of(of_channel[static_cast<size_t>(e - first)]);
      const bool believed = factor >= 1 || (factor < clearly_less(count) && factor > some_noise &&
                                            !(model.clipped[static_cast<size_t>(e)] > most_clipped));
      model.channel_factor[static_cast<size_t>(e)] = believed ? static_cast<float>(factor) : 1;
    }
  }
  model.correlation = correlation_along_energy(differences, model.channel_factor);
  model.pixel_factor = std::move(pixel_factor);
  return model;
}

}  // namespace eelsvae
