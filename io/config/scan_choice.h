#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/detect/automatic.h"
#include "engine/detect/comparison.h"
#include "engine/image/image_to_read.h"

namespace eelsvae {

// What is chosen for a scan that comes alone, beyond its configuration (engine/detect/automatic.h).

// Of the time for everything, the share in which the model is trained; the rest is for reading, preparing and
// detecting.
inline constexpr double share_of_training = 0.7;

// A configuration for the image as the settings ("key=value") crop and bin it: what lies outside is not to be
// looked at, and pixels and noise are those that the model will see. The settings themselves are not in it.
// UserError as set_value() has it.
struct ScanChoice {
  AutomaticChoice choice;
  Axis energy;
  int64_t pixels = 0;
};
ScanChoice choose_for_image(ImageToRead image, const std::vector<std::string>& settings);

// What predicts held-out spectra best: the model, or the baseline of that name; and why, for the log.
struct Winner {
  bool model = false;
  std::string baseline, reason;
};
// comparison: of the training, absent if there was none. wanted: the score and the threshold, which may need
// a model, or be of amounts, which PCA, that has them from the very spectrum, cannot judge.
Winner best_of(const std::optional<Comparison>& comparison, int64_t pixels, const DetectionConfig& wanted);

}  // namespace eelsvae
