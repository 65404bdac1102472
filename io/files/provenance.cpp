#include "io/files/provenance.h"

#include <nlohmann/json.hpp>

namespace eelsvae {
nlohmann::ordered_json to_json(const Provenance& provenance) {
  nlohmann::ordered_json versions = nlohmann::ordered_json::object(),
                         inputs = nlohmann::ordered_json::array();
  for (const auto& [name, version] : provenance.versions) versions[name] = version;
  for (const InputFile& file : provenance.inputs)
    inputs.push_back({{"path", file.path}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  return {{"versions", versions}, {"inputs", inputs}, {"choices", provenance.choices}};
}

Provenance provenance_from(const nlohmann::json& json) {
  Provenance provenance;
  if (json.contains("versions"))
    for (const auto& [name, version] : json.at("versions").items())
      provenance.versions.emplace_back(name, version.get<std::string>());
  if (json.contains("inputs"))
    for (const nlohmann::json& file : json.at("inputs"))
      provenance.inputs.push_back({file.at("path"), file.at("bytes"), file.at("sha256")});
  provenance.choices = json.value("choices", std::vector<std::string>{});
  return provenance;
}

std::vector<std::pair<std::string, std::string>> describe(const Provenance& provenance) {
  std::vector<std::pair<std::string, std::string>> rows = provenance.versions;
  for (const InputFile& file : provenance.inputs)
    rows.emplace_back(file.path, std::to_string(file.bytes) + " bytes, SHA-256 " + file.sha256);
  for (const std::string& choice : provenance.choices) rows.emplace_back("chosen", choice);
  return rows;
}

}  // namespace eelsvae
