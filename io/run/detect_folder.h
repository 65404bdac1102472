#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/config.h"
#include "engine/detect/detection.h"
#include "engine/detect/metrics.h"
#include "engine/train/trainer.h"

namespace eelsvae {

// What a detection folder is made from.
struct DetectionOutput {
  const SpectrumImage& prepared;  // as the model saw it
  const Expectation& expectation;
  const Detection& detection;
  const Config& config;
  std::string data_file;
  std::string model;                      // file, or what a baseline says of itself
  std::vector<EpochRecord> history = {};  // of the model's training
  std::vector<uint8_t> truth = {};        // (y, x); empty if not known
  std::optional<DetectionMetrics> metrics = {};
  std::vector<std::pair<std::string, std::string>> versions = {};
  bool save_reconstruction = false;
};

// Writes scores.hspy (map with axes), scores.npy and mask.npy (y, x), scores.png, histogram.png,
// summary.json, report.html and, if asked for, reconstruction.npy (y, x, E) into the folder, which must
// exist. Each file is complete or not there. UserError if one cannot be written. Excluded pixels are NaN in
// the scores, false in the mask and 0 in the reconstruction. The summary's `pixels` are those with a score;
// with its `excluded_pixels` they make up the image.
void write_detect_folder(const std::filesystem::path& folder, const DetectionOutput& output);

// Bytes that the folder takes on disk at most.
uint64_t detect_folder_bytes(const SpectrumImage& prepared, bool save_reconstruction);

}  // namespace eelsvae
