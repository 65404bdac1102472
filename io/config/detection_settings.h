#pragma once

#include <string>
#include <vector>

#include "engine/config.h"

// How what a user sets for a detection meets the configuration that a model was trained with.
namespace eelsvae {

// Applies "key=value" settings (set_value) to a model's configuration. What belongs to the trained model
// stays as it was trained. What was excluded from training belongs to its image alone and is forgotten; true
// if there was anything. UserError, which begins with `origin` ("--set"), for a key that belongs to the model
// and for a value that set_value or check_config refuses.
bool apply_to_detection(const std::vector<std::string>& settings, Config& config, const std::string& origin);

// Another image than the one the model was trained on is used whole and has a low-loss image of its own.
void forget_training_image(PreprocessConfig& preprocess);

}  // namespace eelsvae
