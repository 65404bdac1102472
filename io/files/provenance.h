#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

namespace eelsvae {

// A file that something was made from, by its bytes: whoever has a result can tell whether a file at hand is
// the one that it came from.
struct InputFile {
  std::string path;
  uint64_t bytes = 0;
  std::string sha256;  // 64 hexadecimal digits, as sha256sum prints them; "" where they are not known
  bool operator==(const InputFile&) const = default;
};

// What a result was made from and by, for whoever finds it later.
struct Provenance {
  std::vector<std::pair<std::string, std::string>> versions;  // of programs and device, by their names
  std::vector<InputFile> inputs;
  std::vector<std::string> choices;  // that the program made by itself, in words
  bool operator==(const Provenance&) const = default;
};

// {"versions": {...}, "inputs": [{"path", "bytes", "sha256"}, ...], "choices": [...]}; what is missing in the
// JSON is empty. nlohmann::json::exception where it has another form.
nlohmann::ordered_json to_json(const Provenance& provenance);
Provenance provenance_from(const nlohmann::json& json);

// Name and text, for a table that people read.
std::vector<std::pair<std::string, std::string>> describe(const Provenance& provenance);

}  // namespace eelsvae
