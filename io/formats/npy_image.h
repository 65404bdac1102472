#pragma once

#include "io/files/npy.h"
#include "io/formats/image_format.h"

namespace eelsvae {

// A .npy array (y, x, E) as a spectrum image without calibration: axes in pixels and channels, no units; (x,
// E) is a line scan.
extern const ImageFormat npy_format;

// What such an array is: by the number of its axes. A mask of booleans is no line scan.
ImageInfo array_info(const std::string& title, const NpyHeader& header);

}  // namespace eelsvae
