#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/detect/baselines.h"
#include "engine/detect/empirical_null.h"
#include "engine/detect/scorer.h"
#include "engine/prepare/preprocess.h"

namespace eelsvae {

// Everything that a detection measures in an image as a whole. Kept, it scores other scans of the specimen as
// that one, each spectrum by itself and its surroundings: scans become comparable, and one that is still
// running can be scored row by row (engine/live/).
struct DetectionState {
  PreprocessConfig preprocess;  // without crops, which belong to an image
  DetectionConfig detection;
  FittedPreprocess fitted;
  std::optional<Baseline> baseline;  // that expects the spectra; absent: a model
  std::string model_fingerprint;     // of that model's file (io/model/trained_model.h); "": a baseline
  ScoreState scores;
  EmpiricalNull null;               // normal_share is 1: nobody knows it of another scan
  int64_t spectra = 0;              // in which all this was measured
  std::vector<std::string> doubts;  // why the threshold could not be trusted there
};

}  // namespace eelsvae
