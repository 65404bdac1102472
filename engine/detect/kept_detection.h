#pragma once

#include <array>
#include <optional>
#include <string>

#include "engine/config.h"
#include "engine/detect/baselines.h"
#include "engine/detect/detection.h"
#include "engine/detect/detection_state.h"
#include "engine/image/image_to_read.h"
#include "engine/prepare/preprocess.h"

namespace eelsvae {

// Why a detection by this configuration cannot be kept, with what would be right: scores that are set against
// each other over the image, thresholds that are no rate's, steps of preprocessing that measure in the image
// and have no place in the state. "": it can. check_can_be_kept() throws it as a UserError.
std::string why_not_kept(const PreprocessConfig& preprocess, const DetectionConfig& detection);
void check_can_be_kept(const PreprocessConfig& preprocess, const DetectionConfig& detection);

// The state of what was found in a prepared image. baseline: null: the expectation was a model's, whose
// fingerprint the caller adds. UserError as check_can_be_kept(), or where no null was found.
DetectionState keep_detection(const PreparedImage& prepared, const Detection& found, const Baseline* baseline,
                              const PreprocessConfig& preprocess, const DetectionConfig& detection);

// A baseline fitted to an image of counts, and the state of its detection there. energy_range as prepare()
// has it. UserError as prepare(), Baseline and keep_detection() have it.
DetectionState learn_state(ImageToRead image, const BaselineSpec& baseline,
                           const PreprocessConfig& preprocess, const DetectionConfig& detection,
                           const std::optional<std::array<double, 2>>& energy_range,
                           Backend* backend = nullptr);

}  // namespace eelsvae
