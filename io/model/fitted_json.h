#pragma once

#include <nlohmann/json_fwd.hpp>

#include "engine/image/spectrum_image.h"
#include "engine/prepare/scaling.h"

namespace eelsvae {

// What preprocessing was fitted to, as it stands in checkpoints and states of detections. The readers throw
// UserError for values that make no axis or scaling, nlohmann's exceptions for what is missing or of another
// type.
nlohmann::json axis_to_json(const Axis& axis);
Axis axis_from(const nlohmann::json& j);
nlohmann::json scaling_to_json(const ScalingParameters& scaling);
ScalingParameters scaling_from(const nlohmann::json& j);

}  // namespace eelsvae
