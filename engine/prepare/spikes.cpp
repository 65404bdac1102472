#include "engine/prepare/spikes.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <tuple>

#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr int64_t reach = 4;          // channels to either side in the local median
constexpr int64_t neighbourhood = 2;  // channels by which a feature may move from pixel to pixel

template <typename T>
T median_of_three(T a, T b, T c) {
  return std::max(std::min(a, b), std::min(std::max(a, b), c));
}

// The median of nine as the median of three: the largest of the least, the median of the middle and the least
// of the largest of three sorted triples.
struct Triple {
  float low, middle, high;
};
Triple sorted(float a, float b, float c) {
  return {std::min(a, std::min(b, c)), median_of_three(a, b, c), std::max(a, std::max(b, c))};
}
float median_of_nine(const Triple& a, const Triple& b, const Triple& c) {
  return median_of_three(std::max(a.low, std::max(b.low, c.low)),
                         median_of_three(a.middle, b.middle, c.middle),
                         std::min(a.high, std::min(b.high, c.high)));
}

// Channel e of a spectrum that goes on mirrored about its first and last channel.
float mirrored(const float* spectrum, int64_t channels, int64_t e) {
  if (channels == 1) return spectrum[0];
  const int64_t period = 2 * (channels - 1);
  e = ((e % period) + period) % period;
  return spectrum[e < channels ? e : period - e];
}

float local_median(const float* spectrum, int64_t channels, int64_t e) {
  if (e >= reach && e + reach < channels) {
    const float* at = spectrum + e;
    return median_of_nine(sorted(at[-4], at[-3], at[-2]), sorted(at[-1], at[0], at[1]),
                          sorted(at[2], at[3], at[4]));
  }
  auto at = [&](int64_t i) { return mirrored(spectrum, channels, e + i); };
  return median_of_nine(sorted(at(-4), at(-3), at(-2)), sorted(at(-1), at(0), at(1)),
                        sorted(at(2), at(3), at(4)));
}

// local_median() of every channel, vectorised. padded: channels + 8 floats; triples: 3 * (channels + 6).
void local_medians(const float* spectrum, int64_t channels, float* padded, float* triples, float* medians) {
  std::copy_n(spectrum, channels, padded + reach);
  for (int64_t i = 1; i <= reach; ++i) {
    padded[reach - i] = mirrored(spectrum, channels, -i);
    padded[reach + channels - 1 + i] = mirrored(spectrum, channels, channels - 1 + i);
  }
  const int64_t count = channels + 6;
  float *low = triples, *middle = triples + count, *high = triples + 2 * count;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float a = padded[i], b = padded[i + 1], c = padded[i + 2];
    const float less = std::min(a, b), more = std::max(a, b);
    low[i] = std::min(less, c);
    middle[i] = std::max(less, std::min(more, c));
    high[i] = std::max(more, c);
  }
#pragma omp simd
  for (int64_t i = 0; i < channels; ++i) {
    const float lows = std::max(low[i], std::max(low[i + 3], low[i + 6]));
    const float highs = std::min(high[i], std::min(high[i + 3], high[i + 6]));
    const float a = middle[i], b = middle[i + 3], c = middle[i + 6];
    const float middles = std::max(std::min(a, b), std::min(std::max(a, b), c));
    medians[i] = std::max(std::min(lows, middles), std::min(std::max(lows, middles), highs));
  }
}

bool is_excluded(const SpectrumImage& image, int64_t pixel) {
  return !image.excluded.empty() && image.excluded[static_cast<size_t>(pixel)];
}

// Pixels around a pixel, up to eight, but for those that are excluded.
struct Neighbours {
  std::array<int64_t, 8> pixel;
  size_t count = 0;

  Neighbours(const SpectrumImage& image, int64_t centre) {
    const int64_t y = centre / image.x.size, x = centre % image.x.size;
    for (int64_t j = std::max<int64_t>(0, y - 1); j <= std::min(image.y.size - 1, y + 1); ++j)
      for (int64_t i = std::max<int64_t>(0, x - 1); i <= std::min(image.x.size - 1, x + 1); ++i)
        if ((j != y || i != x) && !is_excluded(image, j * image.x.size + i))
          pixel[count++] = j * image.x.size + i;
  }
};

float excess(const SpectrumImage& image, int64_t pixel, int64_t e) {
  const float* spectrum = image.spectrum(pixel);
  return spectrum[e] - local_median(spectrum, image.energy.size, e);
}

std::vector<double> totals(const SpectrumImage& image) {
  std::vector<double> sums(static_cast<size_t>(image.pixels()));
#pragma omp parallel for schedule(static)
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel) {
    const float* spectrum = image.spectrum(pixel);
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t e = 0; e < image.energy.size; ++e) sum += static_cast<double>(spectrum[e]);
    sums[static_cast<size_t>(pixel)] = sum;
  }
  return sums;
}

// What the neighbouring pixels say a real feature may add to channel e, at least 0.
double usual_excess(const SpectrumImage& image, const std::vector<double>& total, int64_t pixel, int64_t e) {
  const Neighbours neighbours(image, pixel);
  double largest = 0, second = 0;
  for (size_t n = 0; n < neighbours.count; ++n) {
    const int64_t other = neighbours.pixel[n];
    float found = 0;
    for (int64_t i = std::max<int64_t>(0, e - neighbourhood);
         i <= std::min(image.energy.size - 1, e + neighbourhood); ++i)
      found = std::max(found, excess(image, other, i));
    const double own = total[static_cast<size_t>(pixel)], theirs = total[static_cast<size_t>(other)];
    const double scaled = static_cast<double>(found) * (theirs > 0 && own > theirs ? own / theirs : 1.0);
    if (scaled > largest) {
      second = largest;
      largest = scaled;
    } else {
      second = std::max(second, scaled);
    }
  }
  return neighbours.count < 3 ? largest : second;
}

struct Threshold {
  CountNoise noise;
  double sigmas;
  double at(double expected) const {
    return sigmas * std::sqrt(noise.variance(expected)) + 0.25 * sigmas * sigmas * noise.gain;
  }
};

// Whether channel e stands out by `share` of the threshold, from its spectrum and from its neighbours.
bool stands_out(const SpectrumImage& image, const std::vector<double>& total, const Threshold& threshold,
                int64_t pixel, int64_t e, double share) {
  const double own = static_cast<double>(excess(image, pixel, e));
  const double level = static_cast<double>(image.spectrum(pixel)[e]) - own;
  if (own <= share * threshold.at(level)) return false;
  const double usual = usual_excess(image, total, pixel, e);
  return own - 1.5 * usual > share * threshold.at(level + usual);
}

// Channels [first, last) are replaced by the line between their neighbours, or by the one neighbour there is.
void interpolate(float* spectrum, int64_t channels, int64_t first, int64_t last) {
  const int64_t before = first - 1;
  if (before < 0 && last >= channels) return;
  const float low = spectrum[before >= 0 ? before : last], high = spectrum[last < channels ? last : before];
  for (int64_t e = first; e < last; ++e)
    spectrum[e] = low + (high - low) * static_cast<float>(e - before) / static_cast<float>(last - before);
}

// The spikes of one pixel; new_counts are left for later.
void find_spikes(const SpectrumImage& image, const std::vector<double>& total, const Threshold& threshold,
                 int64_t pixel, float* scratch, std::vector<Spike>& found) {
  // Without a neighbour a spike cannot be told from a feature.
  if (is_excluded(image, pixel) || Neighbours(image, pixel).count == 0) return;
  const int64_t channels = image.energy.size;
  const float* spectrum = image.spectrum(pixel);
  float *medians = scratch, *padded = medians + channels, *triples = padded + channels + 8;
  local_medians(spectrum, channels, padded, triples, medians);
  // What passes here, with a little to spare for rounding, is looked at again with all its neighbours.
  const auto readout = static_cast<float>(threshold.noise.variance(0)),
             gain = static_cast<float>(threshold.noise.gain), sigmas = static_cast<float>(threshold.sigmas),
             fixed = 0.25f * sigmas * sigmas * gain;
  int candidates = 0;
#pragma omp simd reduction(+ : candidates)
  for (int64_t e = 0; e < channels; ++e) {
    const float spread = std::sqrt(readout + gain * std::max(0.0f, medians[e]));
    candidates += spectrum[e] - medians[e] > 0.999f * (sigmas * spread + fixed) ? 1 : 0;
  }
  if (candidates == 0) return;
  std::vector<uint8_t> flagged(static_cast<size_t>(channels));
  for (int64_t e = 0; e < channels; ++e) {
    const float spread = std::sqrt(readout + gain * std::max(0.0f, medians[e]));
    if (!(spectrum[e] - medians[e] > 0.999f * (sigmas * spread + fixed)) ||
        !stands_out(image, total, threshold, pixel, e, 1))
      continue;
    flagged[static_cast<size_t>(e)] = 1;
    for (int64_t step : {-1, 1})
      for (int64_t i = e + step; std::abs(i - e) < reach && i >= 0 && i < channels &&
                                 stands_out(image, total, threshold, pixel, i, 0.5);
           i += step)
        flagged[static_cast<size_t>(i)] = 1;
  }
  for (int64_t e = 0; e < channels; ++e)
    if (flagged[static_cast<size_t>(e)])
      found.push_back({pixel / image.x.size, pixel % image.x.size, e,
                       image.energy.value(static_cast<double>(e)), spectrum[e], spectrum[e]});
}

}  // namespace

double CountNoise::variance(double expected) const {
  // No detector's response is known to better than a thousandth; this keeps images without noise in order.
  const double counts = std::max(0.0, expected), response = 1e-3 * counts;
  return std::max(readout_variance + gain * counts, response * response);
}

CountNoise estimate_count_noise(const SpectrumImage& image) {
  struct Sample {
    double median, counts, square;  // around it, there, and of the deviation
  };
  std::vector<int64_t> pixels;
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel)
    if (!is_excluded(image, pixel)) pixels.push_back(pixel);
  const int64_t total = static_cast<int64_t>(pixels.size()) * image.energy.size;
  const int64_t wanted = std::min<int64_t>(total, int64_t{1} << 17);
  std::vector<Sample> samples(static_cast<size_t>(wanted));
  int64_t broken = 0;
#pragma omp parallel for schedule(static) reduction(+ : broken)
  for (int64_t i = 0; i < wanted; ++i) {
    // Multiples of the golden ratio fill an interval evenly, in step with no axis.
    const double turns = static_cast<double>(i) * 0.61803398874989485;
    const int64_t at =
        std::min(total - 1, static_cast<int64_t>((turns - std::floor(turns)) * static_cast<double>(total)));
    const int64_t pixel = pixels[static_cast<size_t>(at / image.energy.size)], e = at % image.energy.size;
    const float counts = image.spectrum(pixel)[e], own = excess(image, pixel, e);
    const Neighbours neighbours(image, pixel);
    std::array<float, 8> others;
    others.fill(std::numeric_limits<float>::infinity());
    for (size_t n = 0; n < neighbours.count; ++n) others[n] = excess(image, neighbours.pixel[n], e);
    std::sort(others.begin(), others.end());
    const size_t half = neighbours.count / 2;
    const float usual = neighbours.count == 0       ? 0
                        : neighbours.count % 2 == 1 ? others[half]
                                                    : 0.5f * (others[half - 1] + others[half]);
    const auto deviation = static_cast<double>(own - usual);
    samples[static_cast<size_t>(i)] = {static_cast<double>(counts - own), static_cast<double>(counts),
                                       deviation * deviation};
    broken += counts != std::floor(counts);
  }
  const bool whole = broken == 0;
  std::sort(samples.begin(), samples.end(), [](const Sample& a, const Sample& b) {
    return std::tie(a.median, a.square, a.counts) < std::tie(b.median, b.square, b.counts);
  });

  // Weighted straight line through (mean counts, variance) of the classes: weights 1 / variance^2, because a
  // variance is known to a share of itself. Without the hundredth beyond 2.576 standard deviations a normal
  // distribution keeps 0.925 of its variance.
  constexpr int64_t classes = 32;
  constexpr double kept_share = 0.9247;
  double w = 0, wl = 0, wll = 0, wv = 0, wlv = 0;
  for (int64_t c = 0; c < classes; ++c) {
    const auto first = samples.begin() + c * wanted / classes;
    auto last = samples.begin() + (c + 1) * wanted / classes;
    if (first == last) continue;
    std::sort(first, last, [](const Sample& a, const Sample& b) {
      return std::tie(a.square, a.counts) < std::tie(b.square, b.counts);
    });
    last -= (last - first) / 100;
    double level = 0, variance = 0;
    for (auto sample = first; sample != last; ++sample) {
      level += sample->counts;
      variance += sample->square;
    }
    const auto kept = static_cast<double>(last - first);
    level = std::max(0.0, level / kept);
    variance /= kept_share * kept;
    if (!(variance > 0)) continue;
    const double weight = 1 / (variance * variance);
    w += weight;
    wl += weight * level;
    wll += weight * level * level;
    wv += weight * variance;
    wlv += weight * level * variance;
  }
  CountNoise noise;
  if (w > 0) {
    const double determinant = w * wll - wl * wl;
    if (determinant > 1e-9 * w * wll) noise.gain = (w * wlv - wl * wv) / determinant;
    noise.gain = std::max(0.0, noise.gain);
    noise.readout_variance = (wv - noise.gain * wl) / w;
    if (noise.readout_variance < 0) noise = {0, wlv / wll};
  }
  if (whole) noise.gain = std::max(1.0, noise.gain);
  return noise;
}

std::vector<Spike> remove_spikes(SpectrumImage& image, double sigmas) {
  if (image.pixels() < 2)
    throw UserError("preprocess.despike compares a spectrum with its neighbours, and the image is one pixel");
  const Threshold threshold{estimate_count_noise(image), sigmas};
  const std::vector<double> total = totals(image);
  const int64_t channels = image.energy.size, scratch_size = 5 * channels + 26;
  std::vector<std::vector<Spike>> of_row(static_cast<size_t>(image.y.size));
  std::vector<float> scratch(static_cast<size_t>(omp_get_max_threads() * scratch_size));
#pragma omp parallel for schedule(dynamic)
  for (int64_t y = 0; y < image.y.size; ++y)
    for (int64_t x = 0; x < image.x.size; ++x)
      find_spikes(image, total, threshold, y * image.x.size + x,
                  scratch.data() + omp_get_thread_num() * scratch_size, of_row[static_cast<size_t>(y)]);

  std::vector<Spike> spikes;
  for (const std::vector<Spike>& row : of_row) spikes.insert(spikes.end(), row.begin(), row.end());
  if (spikes.size() > std::max<size_t>(100, image.counts.size() / 100))
    throw UserError("preprocess.despike would replace " + std::to_string(spikes.size()) + " of " +
                    std::to_string(image.counts.size()) +
                    " counts, too many to be spikes; use a larger threshold");
  for (size_t first = 0; first < spikes.size();) {
    size_t last = first + 1;
    while (last < spikes.size() && spikes[last].y == spikes[first].y && spikes[last].x == spikes[first].x &&
           spikes[last].channel == spikes[last - 1].channel + 1)
      ++last;
    float* spectrum = image.spectrum(spikes[first].y * image.x.size + spikes[first].x);
    interpolate(spectrum, channels, spikes[first].channel, spikes[last - 1].channel + 1);
    for (; first < last; ++first) spikes[first].new_counts = spectrum[spikes[first].channel];
  }
  return spikes;
}

}  // namespace eelsvae
