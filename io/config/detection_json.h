#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/detect/comparison.h"
#include "engine/detect/detection.h"
#include "engine/detect/metrics.h"
#include "engine/train/trainer.h"
#include "io/files/provenance.h"

namespace eelsvae {

// A detection with what it was made of, to be told to people or to other programs. What it refers to belongs
// to the caller.
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
  // What other expectations find in the same image, by the same score unless they have their own.
  struct Beside {
    std::string name;  // what a baseline says of itself
    std::string score;
    Detection found;  // without regions
    std::optional<DetectionMetrics> metrics;
  };
  std::vector<Beside> beside = {};
  Provenance provenance = {};

  std::string score_name() const;
};

// The name of the score that is taken, "own" where a baseline has its own.
std::string score_name(const Expectation& expectation, const DetectionConfig& config);

// How many regions are told one by one.
inline constexpr size_t regions_shown = 200;

// The summary of a detection: what stands in summary.json.
nlohmann::ordered_json summary_json(const DetectionReport& report);

// What explains the first 200 regions, of those for which that was looked for: the region's rank, counted
// from 1, its changes, each with its kind, the edges that it may belong to, where it is, value, uncertainty
// and unit (change.h) and as a sentence, and chi-squared before and after with the number of channels that it
// sums.
nlohmann::ordered_json explanations_json(const Detection& found, const std::vector<std::string>& elements);

}  // namespace eelsvae
