#include "engine/detect/amounts_score.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "engine/detect/pooling.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr float absent = std::numeric_limits<float>::quiet_NaN();
constexpr double within_one_sigma = 0.6827;

double quantile(std::vector<float>& values, double share) {
  const auto at =
      values.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return static_cast<double>(*at);
}

// Median, and the 68.3 % quantile of what departs from it.
std::pair<double, double> centre_and_spread(std::vector<float>& values) {
  const double centre = quantile(values, 0.5);
  for (float& value : values) value = std::abs(value - static_cast<float>(centre));
  return {centre, quantile(values, within_one_sigma)};
}

std::vector<float> present(const std::vector<float>& map) {
  std::vector<float> values;
  std::ranges::copy_if(map, std::back_inserter(values), [](float v) { return !std::isnan(v); });
  return values;
}

double spread_of(const std::vector<float>& map) {
  std::vector<float> values = present(map);
  return values.empty() ? 0 : centre_and_spread(values).second;
}

// How steeply a map changes, per pixel; NaN where it has no value.
std::vector<float> steepness(const std::vector<float>& map, int64_t height, int64_t width) {
  std::vector<float> steep(map.size(), absent);
  const auto change = [&](int64_t before, int64_t after, int64_t here) {
    const auto value = [&](int64_t at) {
      const float v = map[static_cast<size_t>(at)];
      return std::isnan(v) ? map[static_cast<size_t>(here)] : v;
    };
    return (value(after) - value(before)) / 2;
  };
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      const int64_t here = y * width + x;
      if (std::isnan(map[static_cast<size_t>(here)])) continue;
      steep[static_cast<size_t>(here)] =
          std::hypot(change(y > 0 ? here - width : here, y + 1 < height ? here + width : here, here),
                     change(x > 0 ? here - 1 : here, x + 1 < width ? here + 1 : here, here));
    }
  return steep;
}

// Amounts less the median and in units of the spread of the pixels that are as steep: there are at least 256
// of these, in up to 16 groups of equal size.
void standardise(std::vector<float>& map, const std::vector<float>& steep) {
  std::vector<size_t> order;
  for (size_t i = 0; i < map.size(); ++i)
    if (!std::isnan(map[i])) order.push_back(i);
  std::ranges::stable_sort(order, {}, [&](size_t i) { return steep[i]; });
  const size_t groups = std::clamp<size_t>(order.size() / 256, 1, 16);
  for (size_t g = 0; g < groups; ++g) {
    const std::span<const size_t> group = std::span(order).subspan(
        g * order.size() / groups, (g + 1) * order.size() / groups - g * order.size() / groups);
    std::vector<float> values;
    for (size_t i : group) values.push_back(map[i]);
    if (values.empty()) return;
    const auto [centre, spread] = centre_and_spread(values);
    const double unit = std::max(spread, 1e-30);
    for (size_t i : group) map[i] = static_cast<float>((static_cast<double>(map[i]) - centre) / unit);
  }
}

// Of pixels a step apart in either direction.
double correlation(const std::vector<float>& map, int64_t height, int64_t width, int64_t step) {
  double products = 0, squares = 0, pairs = 0, values = 0;
  constexpr float most = 3;  // so that anomalies do not speak for all
  const auto at = [&](int64_t y, int64_t x) {
    return std::clamp(map[static_cast<size_t>(y * width + x)], -most, most);
  };
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      const float here = at(y, x);
      if (std::isnan(here)) continue;
      squares += static_cast<double>(here * here);
      ++values;
      for (const auto& [v, u] : {std::pair{y + step, x}, std::pair{y, x + step}}) {
        if (v >= height || u >= width || std::isnan(at(v, u))) continue;
        products += static_cast<double>(here * at(v, u));
        ++pairs;
      }
    }
  return pairs > 0 && squares > 0 ? products / pairs / (squares / values) : 0;
}

// exp(-d^2 / (4 s^2)) at d = 1 and 2, the noise of a pixel, which is its own, being the rest at d = 0.
double probe_of(const std::vector<float>& map, int64_t height, int64_t width) {
  constexpr double least = 0.1, widest = 3;  // correlation; pixels
  const double one = correlation(map, height, width, 1), two = correlation(map, height, width, 2);
  if (one < least) return 0;
  if (two <= 0) return 0.5;
  return two < one ? std::clamp(std::sqrt(0.75 / std::log(one / two)), 0.5, widest) : widest;
}

std::vector<float> wilson_hilferty(const std::vector<std::vector<float>>& amounts) {
  const auto count = static_cast<double>(amounts.size());
  const double variance = 2 / (9 * count);
  std::vector<float> scores;
  for (size_t pixel = 0; pixel < amounts.front().size(); ++pixel) {
    double squares = 0;
    for (const std::vector<float>& map : amounts)
      squares += static_cast<double>(map[pixel]) * static_cast<double>(map[pixel]);
    scores.push_back(static_cast<float>((std::cbrt(squares / count) - (1 - variance)) / std::sqrt(variance)));
  }
  return scores;
}

}  // namespace

AmountScores amount_scores(const SpectrumImageView& observed, std::span<const float> expected,
                           const ResidualModel& model, ChannelWindow window) {
  expect(expected.size() == observed.counts.size(), "expected spectra of another size");
  AmountScores result;
  if (model.count() == 0) return result;
  const int64_t channels = observed.energy.size, height = observed.y.size, width = observed.x.size;
  const auto pixels = static_cast<size_t>(observed.pixels());
  const auto components = static_cast<size_t>(model.count());
  std::vector<std::vector<float>> amounts(components, std::vector<float>(pixels, absent)),
      of_expected = amounts;
  std::vector<double> sums(static_cast<size_t>(channels));
  double counted = 0;
  const auto is_excluded = [&](size_t pixel) {
    return !observed.excluded.empty() && observed.excluded[pixel];
  };
  for (size_t pixel = 0; pixel < pixels; ++pixel) {
    if (is_excluded(pixel)) continue;
    const float* x = expected.data() + static_cast<int64_t>(pixel) * channels;
    for (size_t e = 0; e < sums.size(); ++e) sums[e] += static_cast<double>(x[e]);
    ++counted;
  }
  std::vector<float> mean;
  for (double sum : sums) mean.push_back(static_cast<float>(sum / std::max(counted, 1.0)));
#pragma omp parallel
  {
    std::vector<float> z(static_cast<size_t>(channels));
#pragma omp for schedule(static)
    for (size_t pixel = 0; pixel < pixels; ++pixel) {
      if (is_excluded(pixel)) continue;
      const auto index = static_cast<int64_t>(pixel);
      const float* x = expected.data() + index * channels;
      const auto amounts_of = [&](const float* spectrum, std::vector<std::vector<float>>& maps) {
        model.whiten(index, spectrum, x, z.data());
        for (size_t k = 0; k < components; ++k) {
          const float* component = model.component(static_cast<int64_t>(k));
          float sum = 0;
#pragma omp simd reduction(+ : sum)
          for (int64_t e = window.first; e < window.last; ++e)
            sum += component[e] * z[static_cast<size_t>(e)];
          maps[k][pixel] = sum;
        }
      };
      amounts_of(observed.spectrum(index), amounts);
      amounts_of(mean.data(), of_expected);
    }
  }
  for (size_t k = components; k-- > 0;) {
    const double own = spread_of(amounts[k]), explained = spread_of(of_expected[k]);
    if (explained * explained >= AmountScores::foretold * own * own) continue;
    amounts.erase(amounts.begin() + static_cast<std::ptrdiff_t>(k));
    of_expected.erase(of_expected.begin() + static_cast<std::ptrdiff_t>(k));
  }
  if (amounts.empty()) return result;
  for (std::vector<float>& map : of_expected) map = steepness(map, height, width);
  for (size_t k = 0; k < amounts.size(); ++k) standardise(amounts[k], of_expected[k]);
  result.of_pixels = wilson_hilferty(amounts);
  result.probe = probe_of(amounts.front(), height, width);
  if (result.probe == 0) return result;
  for (size_t k = 0; k < amounts.size(); ++k) {
    amounts[k] = pool_evidence(amounts[k], height, width, result.probe);
    standardise(amounts[k], of_expected[k]);
  }
  result.of_probe = wilson_hilferty(amounts);
  for (size_t pixel = 0; pixel < pixels; ++pixel)
    result.of_probe[pixel] = std::min(result.of_probe[pixel], result.of_pixels[pixel] + AmountScores::lent);
  return result;
}

}  // namespace eelsvae
