#pragma once

#include <optional>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// The distance, in pixels, at which the pattern of a scan's columns of atoms repeats: that of the nearest
// peak of the autocorrelation of the map of totals, 3 to 40 pixels away and as far as a third of the image,
// that reaches half of the correlation of pixels next to each other. Absent where there is none: stripes,
// waves and materials do not repeat in two directions. Pixels that are known to be larger than 0.2 nm show no
// atoms.
std::optional<double> atomic_pitch(const SpectrumImageView& image);

}  // namespace eelsvae
