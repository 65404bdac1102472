#include "engine/detect/spectral_features.h"

#include <algorithm>
#include <cmath>

#include "engine/detect/scores.h"
#include "engine/prepare/filters.h"
#include "kernels/image_operations.h"

namespace eelsvae {
namespace {

constexpr double least_prominence = 12;  // times less than the highest peak's
constexpr size_t most_features = 12;
constexpr double longest_foot_ev = 15;

std::vector<double> smoothed(std::span<const double> spectrum, double sigma) {
  const std::vector<float> half = gaussian_weights(sigma);
  const int64_t channels = std::ssize(spectrum);
  std::vector<double> result(spectrum.size());
  for (int64_t e = 0; e < channels; ++e)
    for (int64_t k = 1 - std::ssize(half); k < std::ssize(half); ++k)
      result[static_cast<size_t>(e)] += static_cast<double>(half[static_cast<size_t>(std::abs(k))]) *
                                        spectrum[static_cast<size_t>(reflected(e + k, channels))];
  return result;
}

// The lowest channel on the way from a peak in a direction, until something is higher than the peak or the
// way is too long.
int64_t foot(const std::vector<double>& f, int64_t peak, int64_t step, int64_t longest) {
  int64_t lowest = peak;
  for (int64_t e = peak; 0 <= e && e < std::ssize(f) && std::abs(e - peak) <= longest; e += step) {
    const double here = f[static_cast<size_t>(e)];
    if (here > f[static_cast<size_t>(peak)]) break;
    if (here < f[static_cast<size_t>(lowest)]) lowest = e;
  }
  return lowest;
}

}  // namespace

SmoothSpectrum smooth_spectrum(std::span<const double> spectrum, const Axis& energy) {
  constexpr double fine = 1.5;  // channels: less is noise
  const double quarter = static_cast<double>(std::ssize(spectrum)) / 4;
  return {smoothed(spectrum, fine),
          smoothed(spectrum, std::max(4 * fine, std::min(edge_width / std::abs(energy.scale), quarter)))};
}

std::vector<SpectralFeature> find_features(std::span<const double> spectrum, const Axis& energy) {
  const int64_t channels = std::ssize(spectrum);
  if (channels < 8) return {};
  const SmoothSpectrum smooth = smooth_spectrum(spectrum, energy);
  std::vector<double> f;
  for (size_t e = 0; e < spectrum.size(); ++e) f.push_back(smooth.fine[e] - smooth.background[e]);
  const auto longest = static_cast<int64_t>(std::ceil(longest_foot_ev / energy.scale));

  struct Peak {
    SpectralFeature at;
    double prominence;
  };
  std::vector<Peak> peaks;
  for (int64_t e = 1; e + 1 < channels; ++e) {
    const auto i = static_cast<size_t>(e);
    if (f[i] <= 0 || f[i] < f[i - 1] || f[i] <= f[i + 1]) continue;
    const SpectralFeature at = {foot(f, e, -1, longest), e, foot(f, e, 1, longest)};
    peaks.push_back({at, f[i] - std::max(f[static_cast<size_t>(at.first)], f[static_cast<size_t>(at.last)])});
  }
  std::ranges::stable_sort(peaks, std::ranges::greater(), &Peak::prominence);
  if (peaks.size() > most_features) peaks.resize(most_features);
  std::vector<SpectralFeature> features;
  for (const Peak& peak : peaks)
    if (peak.prominence > peaks.front().prominence / least_prominence) features.push_back(peak.at);
  std::ranges::sort(features, {}, &SpectralFeature::peak);
  // Between neighbours the lowest point is a foot of both.
  for (size_t i = 0; i + 1 < features.size(); ++i) {
    if (features[i].last < features[i + 1].first) continue;
    const auto lowest =
        std::min_element(f.begin() + features[i].peak, f.begin() + features[i + 1].peak) - f.begin();
    features[i].last = features[i + 1].first = lowest;
  }
  return features;
}

}  // namespace eelsvae
