#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/image/spectrum_image.h"
#include "engine/noise/energy_whitening.h"
#include "engine/noise/noise_model.h"

namespace eelsvae {

// What normal spectra show beyond what is expected of them: noise of known size, a mean, and a few spectral
// shapes whose amounts vary from pixel to pixel because the expectation does not follow every change of
// composition, thickness or drift. With z = W (observed - expected) / sqrt(noise variance) - mean, where W
// makes noise white that is correlated along energy:
//   covariance of z over normal pixels = level * I + components^T diag(strength) components
struct ResidualModel {
  NoiseModel noise;               // with its channel factors
  EnergyWhitening whitening;      // W, of the noise's correlation
  std::vector<float> mean;        // (E)
  std::vector<float> components;  // (k, E), orthonormal, strongest first
  std::vector<double> strengths;  // (k) variance along each beyond the noise's, in units of the noise's
  double level = 1;               // variance of the noise along a component

  int64_t count() const { return static_cast<int64_t>(strengths.size()); }
  const float* component(int64_t k) const { return components.data() + k * std::ssize(mean); }
  // z of the spectrum of a pixel, (E).
  void whiten(int64_t pixel, const float* observed, const float* expected, float* z) const;
};

// Fitted to an image and what is expected of it (y, x, E), without excluded pixels and without the 2 % that
// depart most, so that anomalies, as long as they are rarer, do not become normal. Components are
// eigenvectors of a covariance that stand out of its noise: whose eigenvalue exceeds the (n + 1)-th by 15 %
// and the largest of white noise by 5 %; n is 16, or less where there are fewer than 4 n channels or 8 n
// spectra. First of the means of 16 neighbouring pixels, in which drift and composition show before they do
// in single ones, then of what the pixels show besides; 16 in all. UserError where the noise cannot be
// measured.
ResidualModel fit_residual_model(const SpectrumImageView& observed, std::span<const float> expected,
                                 int64_t lag, std::vector<float> pixel_noise = {});

}  // namespace eelsvae
