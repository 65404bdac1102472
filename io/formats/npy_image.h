#pragma once

#include "io/files/npy.h"
#include "io/formats/image_format.h"

namespace eelsvae {

// A .npy array (y, x, E) as a spectrum image without calibration: axes in pixels and channels, no units.
extern const ImageFormat npy_format;

// What such an array is: a spectrum image if it has three axes.
ImageInfo array_info(const std::string& title, const NpyHeader& header);

}  // namespace eelsvae
