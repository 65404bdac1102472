#pragma once

#include <string>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// Of the formats that are written: ".hspy, .dm4 or .npy".
std::string written_extensions();

// UserError, naming the option, unless a spectrum image can be written under this name.
void check_image_name(const std::string& option, const std::string& path);

// Writes a spectrum image in the format that the file's extension names, float32, all or nothing. .hspy
// carries everything; .dm4 what GMS has a place for (no names of axes); .npy the counts alone. UserError as
// check_image_name, and if the file cannot be written.
void write_spectrum_image(const std::string& path, const SpectrumImage& image);

}  // namespace eelsvae
