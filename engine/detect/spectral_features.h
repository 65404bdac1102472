#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// A spectrum (E) without the noise of single channels, and its background: what is broader than an edge
// (edge_width of scores.h), or than a quarter of an axis that is hardly wider than that.
struct SmoothSpectrum {
  std::vector<double> fine, background;
};
SmoothSpectrum smooth_spectrum(std::span<const double> spectrum, const Axis& energy);

// A peak of a spectrum, such as a white line, in channels: from the foot below it to the foot above it.
// Neighbours that overlap share a foot.
struct SpectralFeature {
  int64_t first = 0, peak = 0, last = 0;
};

// The peaks of a spectrum (E) above its background, in order, twelve at most: those that stand out of both
// valleys beside them by a twelfth of what the highest one does. energy: in eV, ascending.
std::vector<SpectralFeature> find_features(std::span<const double> spectrum, const Axis& energy);

}  // namespace eelsvae
