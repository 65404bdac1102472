#pragma once

#include "io/formats/image_format.h"

namespace eelsvae {

// HyperSpy's folders (.zspy): what a .hspy holds (io/formats/hyperspy.h), kept in Zarr. Any other folder of
// Zarr, and one that was zipped, is refused with what to do.
extern const ImageFormat zspy_format;

}  // namespace eelsvae
