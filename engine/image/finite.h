#pragma once

#include <string>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// What is wrong with an image's numbers, for a message: "2 pixels hold counts that are not finite (NaN or
// infinite), the first at (y, x, channel) = (1, 2, 5)". Excluded pixels may hold anything. Empty if all is
// well.
std::string not_finite_text(const SpectrumImageView& image);

}  // namespace eelsvae
