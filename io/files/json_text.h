#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace eelsvae {

// Parses what another program wrote: a JSON object, in which NaN and Infinity, which Python writes though
// JSON has no such numbers, become null. UserError "CONTEXT: not a JSON object" or "CONTEXT: JSON nested
// deeper than 100".
nlohmann::json parse_json_object(const std::string& text, const std::string& context);

}  // namespace eelsvae
