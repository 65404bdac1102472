#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace eelsvae {

// A report's page: the template of this name in report_page/ ("detection.html") with all that it refers to
// and the data that its scripts show. One HTML file that loads and sends nothing, whatever text the data
// hold.
std::string render_page(const std::string& name, const nlohmann::json& data);

}  // namespace eelsvae
