#pragma once

#include <cstdint>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// A copy of the rectangle in the middle of an image, `side` pixels high and wide or what the image has, with
// its axes and excluded pixels, for what a part of the image tells as well as the whole.
SpectrumImage middle_of(const SpectrumImageView& image, int64_t side);

}  // namespace eelsvae
