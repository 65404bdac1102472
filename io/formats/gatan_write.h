#pragma once

#include <string>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// Writes an EELS spectrum image as DM4: little-endian float32, dimensions [x, y, E], all or nothing
// (AtomicFile). The energy planes are put together in blocks, so the memory holds no second copy.
// ImageTags of metadata that came from a Gatan file are kept; of other metadata the instrument's settings
// are. The names of axes have no place in the format.
void write_dm4(const std::string& path, const SpectrumImage& image);

}  // namespace eelsvae
