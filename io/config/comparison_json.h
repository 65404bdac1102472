#pragma once

#include <nlohmann/json_fwd.hpp>

#include "engine/detect/comparison.h"

namespace eelsvae {

// As it stands in a checkpoint, in a detection's summary and in the results of a study.
nlohmann::json to_json(const Comparison& comparison);
Comparison comparison_from(const nlohmann::json& json);  // nlohmann::json::exception where it is none

}  // namespace eelsvae
