#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/config.h"
#include "engine/detect/comparison.h"
#include "engine/detect/detection.h"
#include "engine/detect/metrics.h"
#include "engine/train/trainer.h"
#include "io/files/provenance.h"

namespace eelsvae {

// A detection, for people to look at. What it refers to belongs to the caller.
struct DetectionReport {
  const SpectrumImage& prepared;  // as the model saw it
  const Expectation& expectation;
  const Detection& detection;
  const Config& config;
  std::string data_file;
  std::string model;                             // file, or what a baseline says of itself
  std::vector<EpochRecord> history = {};         // of the model's training
  std::optional<Comparison> comparison = {};     // how well normal spectra are predicted
  std::vector<uint8_t> truth = {};               // (y, x), not 0: known to be anomalous; empty if not known
  std::optional<DetectionMetrics> metrics = {};  // against the truth
  Provenance provenance = {};

  // The name of the score, "own" where a baseline has its own.
  std::string score_name() const;
};

// One HTML file that needs nothing else, not even a network: a map to click on, the spectra behind it, the
// histogram of the scores, the most anomalous spectra and regions, and what the detection was made of. It
// stays below about 9 MB up to half a million spectra: where not all spectra fit, those of the highest scores
// are kept in full, the others averaged over neighbouring channels and, if need be, on a grid of every n-th
// pixel; the page says which. Throws std::logic_error where sizes disagree.
std::string render_report(const DetectionReport& report);

}  // namespace eelsvae
