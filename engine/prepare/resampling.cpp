#include "engine/prepare/resampling.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/error.h"

namespace eelsvae {
namespace {

double cubic_b_spline(double x) {
  const double d = std::abs(x);
  if (d < 1) return 2.0 / 3 - d * d * (1 - d / 2);
  return d < 2 ? (2 - d) * (2 - d) * (2 - d) / 6 : 0;
}

// sqrt(3) z^k, z = sqrt(3) - 2: how the B-splines around index 0 are weighted so that their sum, the cardinal
// spline, is 1 there and 0 at all other indices (M. Unser, "Splines: a perfect fit for signal and image
// processing", IEEE Signal Process. Mag. 16, 1999).
std::array<double, spline_taps> b_spline_weights() {
  std::array<double, spline_taps> weights;
  weights[0] = std::sqrt(3.0);
  for (size_t k = 1; k < weights.size(); ++k) weights[k] = weights[k - 1] * (std::sqrt(3.0) - 2);
  return weights;
}

}  // namespace

std::array<double, spline_taps> spline_weights(double fraction) {
  static const std::array<double, spline_taps> of_b_spline = b_spline_weights();
  // The four B-splines that reach a place between two samples, seen from the sample below.
  const std::array<double, 4> b_spline = {cubic_b_spline(fraction + 1), cubic_b_spline(fraction),
                                          cubic_b_spline(fraction - 1), cubic_b_spline(fraction - 2)};
  std::array<double, spline_taps> weights;
  double sum = 0;
  for (int64_t k = 0; k < spline_taps; ++k) {
    double weight = 0;
    for (int64_t j = 0; j < 4; ++j)
      weight += b_spline[static_cast<size_t>(j)] *
                of_b_spline[static_cast<size_t>(std::abs(j - 1 + spline_before - k))];
    weights[static_cast<size_t>(k)] = weight;
    sum += weight;
  }
  for (double& weight : weights) weight /= sum;
  return weights;
}

void move_spectrum(const float* in, float* out, int64_t size, double channels, float* scratch) {
  // Farther than the spectrum is long it holds only its first or last value.
  const double limit = static_cast<double>(size + spline_taps);
  const double position = std::clamp(-channels, -limit, limit);
  const auto whole = static_cast<int64_t>(std::floor(position));
  const double fraction = position - static_cast<double>(whole);
  // scratch[j]: the value at index j + whole - spline_before.
  const int64_t padded = size + spline_taps, from = whole - spline_before;
  const int64_t begin = std::clamp<int64_t>(-from, 0, padded),
                end = std::clamp<int64_t>(size - from, begin, padded);
  std::fill(scratch, scratch + begin, in[0]);
  if (begin < end) std::copy(in + from + begin, in + from + end, scratch + begin);
  std::fill(scratch + end, scratch + padded, in[size - 1]);
  if (fraction == 0) {
    std::copy_n(scratch + spline_before, size, out);
    return;
  }
  std::array<float, spline_taps> weights;
  const std::array<double, spline_taps> exact = spline_weights(fraction);
  for (size_t k = 0; k < weights.size(); ++k) weights[k] = static_cast<float>(exact[k]);
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) {
    float sum = 0;
    for (int64_t k = 0; k < spline_taps; ++k) sum += weights[static_cast<size_t>(k)] * scratch[i + k];
    out[i] = sum;
  }
}

RepeatedChannels move_spectra(SpectrumImage& image, std::span<const double> shifts_ev) {
  expect(std::ssize(shifts_ev) == image.pixels(), "one shift for each pixel is needed");
  const int64_t channels = image.energy.size, padded = channels + spline_taps;
  std::vector<float> scratch(static_cast<size_t>(omp_get_max_threads() * padded));
  double lowest = 0, highest = 0;  // channels
#pragma omp parallel for schedule(static) reduction(min : lowest) reduction(max : highest)
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel) {
    const double moved = shifts_ev[static_cast<size_t>(pixel)] / image.energy.scale;
    lowest = std::min(lowest, moved);
    highest = std::max(highest, moved);
    float* spectrum = image.spectrum(pixel);
    move_spectrum(spectrum, spectrum, channels, moved, scratch.data() + omp_get_thread_num() * padded);
  }
  auto repeated = [&](double moved) {
    return std::min(channels, static_cast<int64_t>(std::ceil(std::min(moved, 1e9))));
  };
  return {repeated(highest), repeated(-lowest)};
}

}  // namespace eelsvae
