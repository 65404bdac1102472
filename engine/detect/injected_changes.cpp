#include "engine/detect/injected_changes.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/detect/baselines.h"
#include "engine/detect/metrics.h"
#include "engine/detect/scorer.h"
#include "engine/image/middle.h"
#include "kernels/error.h"
#include "kernels/philox.h"

namespace eelsvae {
namespace {

using Spectrum = std::vector<double>;

double at(const Spectrum& spectrum, double channel) {
  const double place = std::clamp(channel, 0.0, static_cast<double>(spectrum.size() - 1));
  const auto i = std::min(static_cast<size_t>(place), spectrum.size() - 2);
  return spectrum[i] + (place - static_cast<double>(i)) * (spectrum[i + 1] - spectrum[i]);
}

// The mean of the neighbours that are not excluded, with the sum of the pixel's own.
std::optional<Spectrum> expected_of(const SpectrumImageView& image, int64_t pixel) {
  const int64_t y = pixel / image.x.size, x = pixel % image.x.size, channels = image.energy.size;
  Spectrum mean(static_cast<size_t>(channels));
  double own = 0, around = 0;
  for (int64_t v = std::max<int64_t>(y - 1, 0); v <= std::min(y + 1, image.y.size - 1); ++v)
    for (int64_t u = std::max<int64_t>(x - 1, 0); u <= std::min(x + 1, image.x.size - 1); ++u) {
      const int64_t other = v * image.x.size + u;
      if (!image.excluded.empty() && image.excluded[static_cast<size_t>(other)]) continue;
      for (int64_t e = 0; e < channels; ++e) {
        const double counts = image.spectrum(other)[e];
        if (other == pixel) {
          own += counts;
        } else {
          mean[static_cast<size_t>(e)] += counts;
          around += counts;
        }
      }
    }
  if (!(around > 0) || !(own > 0)) return std::nullopt;
  for (double& counts : mean) counts *= own / around;
  return mean;
}

// What a random change does to an expected spectrum, of any size.
Spectrum change_of(const Spectrum& expected, const Philox4& kind, const Philox4& place) {
  const auto channels = static_cast<double>(expected.size());
  const double centre = uniform(place.v[0]) * channels, width = 3 + 9 * uniform(place.v[1]);
  const double sign = place.v[2] & 1 ? 1 : -1, step = sign * (1 + 2 * uniform(place.v[3]));
  Spectrum change(expected.size());
  for (size_t e = 0; e < expected.size(); ++e) {
    const auto channel = static_cast<double>(e);
    const double window = std::exp(-0.5 * std::pow((channel - centre) / width, 2));
    double difference = 0;
    switch (kind.v[0] % 4) {
      case 0:
        difference = at(expected, channel - step) - expected[e];
        break;
      case 1:
        for (int offset = -3; offset <= 3; ++offset)
          difference += (at(expected, channel + offset * std::abs(step) / 2) - expected[e]) / 7;
        break;
      case 2:
        difference = sign * expected[e];
        break;
      default:
        difference = 1;
    }
    change[e] = window * difference;
  }
  return change;
}

}  // namespace

std::optional<InjectedChanges> inject_changes(const SpectrumImageView& whole, int64_t side,
                                              const PreprocessConfig& preprocess, uint64_t seed) {
  constexpr int64_t fewest = 500, changed_at_least = 20;
  constexpr double share = 0.02, smallest = 5, largest = 8;
  InjectedChanges result;
  const SpectrumImage prepared = middle_of(whole, side);
  const auto pixels = static_cast<size_t>(prepared.pixels());
  result.left_out.assign(pixels, 0);
  std::copy(prepared.excluded.begin(), prepared.excluded.end(), result.left_out.begin());
  const int64_t usable = std::ranges::count(result.left_out, 0);
  if (usable < fewest || prepared.energy.size < 8) return std::nullopt;
  std::optional<NoiseModel> noise;
  try {
    const Expectation mean = expect_from(Baseline(prepared, {}, parse_baseline("mean")), prepared);
    noise = Scorer(prepared, mean, preprocess, {}).residuals().noise;
  } catch (const UserError&) {
    return std::nullopt;
  }
  result.image = prepared;
  result.truth.assign(pixels, 0);
  int64_t left = std::max<int64_t>(std::llround(share * static_cast<double>(usable)), changed_at_least);
  for (int64_t i = 0; left > 0 && i < 100 * usable; ++i) {
    const auto draw = [&](uint64_t what) {
      return philox(seed, RandomStream::injected_changes, what, static_cast<uint64_t>(i));
    };
    const Philox4 kind = draw(0), place = draw(1);
    const auto pixel =
        static_cast<int64_t>(uniform(kind.v[1]) * static_cast<double>(pixels)) % static_cast<int64_t>(pixels);
    if (result.left_out[static_cast<size_t>(pixel)] || result.truth[static_cast<size_t>(pixel)]) continue;
    const std::optional<Spectrum> expected = expected_of(prepared, pixel);
    if (!expected) continue;
    const Spectrum change = change_of(*expected, kind, place);
    double square = 0;
    for (int64_t e = 0; e < prepared.energy.size; ++e) {
      const auto c = static_cast<size_t>(e);
      square += change[c] * change[c] / noise->variance(pixel, e, (*expected)[c]);
    }
    if (!(square > 0)) continue;
    const double factor = (smallest + (largest - smallest) * uniform(kind.v[2])) / std::sqrt(square);
    float* counts = result.image.spectrum(pixel);
    for (int64_t e = 0; e < prepared.energy.size; ++e) {
      const float changed = counts[e] + static_cast<float>(factor * change[static_cast<size_t>(e)]);
      counts[e] = std::max(changed, std::min(counts[e], 0.0f));  // no change makes counts negative
    }
    result.truth[static_cast<size_t>(pixel)] = 1;
    --left;
  }
  return result;
}

double precision_on(const InjectedChanges& changes,
                    const std::function<Expectation(const SpectrumImageView&)>& source,
                    const PreprocessConfig& preprocess, const DetectionConfig& config) {
  const Expectation expectation = source(changes.image);
  const std::vector<float> scores =
      Scorer(changes.image, expectation, preprocess, config).scores(config.score);
  return detection_metrics(scores, changes.truth, 0, changes.left_out).average_precision.value_or(0);
}

}  // namespace eelsvae
