#pragma once

#include <cstdint>
#include <filesystem>

#include "engine/detect/detection_state.h"
#include "io/reports/detection_report.h"

namespace eelsvae {

// Writes scores.hspy (map with axes), scores.npy and mask.npy (y, x), scores.png, histogram.png, config.json
// (with the image's path), summary.json, report.html state.safetensors (if there is a state, by which other
// scans may be scored) and, if asked for, reconstruction.npy (y, x, E) into the folder, which must exist, in
// place of those that another detection left. Each file is complete or not there, and the summary only with
// all others. UserError if one cannot be written. Excluded pixels are NaN in the scores, false in the mask
// and 0 in the reconstruction. The summary's `pixels` are those with a score; with its `excluded_pixels` they
// make up the image.
void write_detect_folder(const std::filesystem::path& folder, const DetectionReport& report,
                         bool save_reconstruction, const DetectionState* state = nullptr);

// Bytes that the folder takes on disk at most.
uint64_t detect_folder_bytes(const SpectrumImage& prepared, bool save_reconstruction);

}  // namespace eelsvae
