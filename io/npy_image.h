#pragma once

#include "io/spectrum_image_file.h"

namespace eelsvae {

// A .npy array (y, x, E) as a spectrum image without calibration: axes in pixels and channels, no units.
extern const ImageFormat npy_format;

}  // namespace eelsvae
