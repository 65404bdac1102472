#pragma once

#include <filesystem>

#include "engine/detect/detection.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

// Pictures of a detection in an image, as PNG files with the colours of its report. Errors: see write_file.

// The map of the scores (NaN: grey, set aside: white) with a colour bar, on which the threshold is marked,
// and a scale bar. Each pixel becomes a block of whole pixels of the picture, the longer side 600 to 800 of
// them unless the map is larger or tiny. A line runs along the border of the anomalous pixels, dark inside
// and white outside.
void write_score_map(const std::filesystem::path& path, const SpectrumImage& image, const Detection& found);

// How the scores are distributed, counts on a logarithmic axis: bars above the threshold in another colour, a
// line at the threshold, and what the null expects of normal spectra.
void write_score_histogram(const std::filesystem::path& path, const Detection& found);

}  // namespace eelsvae
