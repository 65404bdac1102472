#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace eelsvae {

inline bool has(const std::string& page, const std::string& part) {
  return page.find(part) != std::string::npos;
}

// What a report's page is filled from.
inline nlohmann::json data_of(const std::string& page) {
  const std::string open = "id='report-data'>";
  const size_t first = page.find(open) + open.size();
  return nlohmann::json::parse(page.substr(first, page.find("</script>", first) - first));
}

}  // namespace eelsvae
