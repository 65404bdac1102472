#pragma once

#include <nlohmann/json.hpp>

#include "io/reports/detection_report.h"

namespace eelsvae {

// What the script in a report draws, as JSON: numbers that matter one by one as numbers, arrays as base64 of
// little-endian values. Holds no NaN or infinity outside of the base64.
nlohmann::json report_data(const DetectionReport& report);

}  // namespace eelsvae
