#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// What is wrong with an image's numbers, for a message: "2 pixels hold counts that are not finite (NaN or
// infinite), the first at (y, x, channel) = (1, 2, 5)". Excluded pixels may hold anything. Empty if all is
// well.
std::string not_finite_text(const SpectrumImageView& image);

// For each channel whether all pixels hold a finite count there; excluded ones may hold anything.
std::vector<uint8_t> finite_channels(const SpectrumImageView& image);

}  // namespace eelsvae
