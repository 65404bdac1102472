#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// A peak of a spectrum, such as a white line, in channels: from the foot below it to the foot above it.
// Neighbours that overlap share a foot.
struct SpectralFeature {
  int64_t first = 0, peak = 0, last = 0;
};

// The peaks of a spectrum (E) above what is broader than an edge (edge_width of scores.h), in order, twelve
// at most: those that stand out of both valleys beside them by a twelfth of what the highest one does.
// energy: in eV, ascending.
std::vector<SpectralFeature> find_features(std::span<const double> spectrum, const Axis& energy);

}  // namespace eelsvae
