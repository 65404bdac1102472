#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "engine/image/spectrum_image.h"
#include "io/formats/image_format.h"

namespace eelsvae {

// HyperSpy's HDF5 files; what they hold is told in io/formats/hyperspy.h.
extern const ImageFormat hspy_format;

// Writes an EELS signal with navigation axes y, x and signal axis E, float32, compressed, all or nothing. The
// compressed file is put together in memory.
// Metadata in the form of StoredImage::metadata go back to their places; any other JSON object becomes
// original_metadata.
void write_hspy(const std::string& path, const SpectrumImage& image);

// Writes a map (y, x), which HyperSpy opens as a two-dimensional signal; metadata as in write_hspy.
void write_hspy_map(const std::string& path, const std::string& title, const Axis& y, const Axis& x,
                    const float* values, const std::string& metadata);

}  // namespace eelsvae
