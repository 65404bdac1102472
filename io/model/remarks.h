#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/detect/comparison.h"
#include "engine/detect/job.h"
#include "engine/prepare/preprocess.h"
#include "engine/train/trainer.h"

// What is said when work is done, in the programs' logs and to the library's callers.
namespace eelsvae {

struct Remark {
  bool warning;
  std::string text;  // a line
};

// Of a detection.
std::vector<Remark> remarks_on(const PreparedImage& prepared, const DetectionResult& result,
                               const DetectionConfig& config);

// Of a model that was trained to the end. history: of all its epochs, one at least. comparison: with the
// baselines, where spectra were held out.
std::vector<Remark> remarks_on_training(const Config& config, const std::vector<EpochRecord>& history,
                                        std::optional<Comparison> comparison);

}  // namespace eelsvae
