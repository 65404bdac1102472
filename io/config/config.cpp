#include "io/config/config.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "io/config/config_document.h"

namespace eelsvae {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

std::string read_config_text(const std::filesystem::path& path) {
  std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "rb"));
  if (!file) throw UserError("cannot read " + path.string() + ": " + std::strerror(errno));
  constexpr size_t limit = 4 << 20;  // someone's data file in place of a configuration
  std::string text(limit + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get())) throw UserError("cannot read " + path.string() + ": " + std::strerror(errno));
  if (text.size() > limit) throw UserError(path.string() + ": larger than 4 MiB, so not a configuration");
  return text;
}

Config parse_config(std::string_view text, const std::string& origin,
                    const std::vector<std::string>& overrides) {
  return config_document::parse_document<Config>(text, origin, overrides);
}

Config parse_config_alone(std::string_view text, const std::string& origin) {
  return config_document::parse_values<Config>(text, origin);
}

std::vector<std::string> assignments_of(std::string_view text, const std::string& origin) {
  parse_config_alone(text, origin);
  const nlohmann::json document = nlohmann::json::parse(text);
  std::vector<std::string> assignments;
  for (const auto& [name, content] : document.items()) {
    if (!content.is_object()) {
      assignments.push_back(name + "=" + content.dump());
      continue;
    }
    for (const auto& [key, value] : content.items())
      assignments.push_back(config_document::full_name(name, key) + "=" + value.dump());
  }
  return assignments;
}

Config read_config(const std::filesystem::path& path, const std::vector<std::string>& overrides) {
  return parse_config(read_config_text(path), path.string(), overrides);
}

void set_value(Config& config, const std::string& assignment) {
  config_document::set_in_document(config, assignment);
}

void check_config(const Config& config, const std::string& origin) {
  for (const Combination& combination : combinations()) {
    if (!combination.holds(config))
      throw UserError(origin + ": " + combination.key + ": " + combination.text);
  }
}

std::string to_json_text(const Config& config) {
  return config_document::document_text(config);
}

std::string config_reference_markdown() {
  std::string text =
      "# Configuration\n"
      "\n"
      "<!-- Made from the table in io/config/config_fields.h. After a change there: EELSVAE_REGENERATE=1 "
      "io_test "
      "-->\n"
      "\n"
      "A configuration is a JSON file. Keys stand in groups, `device` and `precision` at the top level:\n"
      "\n"
      "```json\n"
      "{\n"
      "  \"data\": {\"data_path\": \"scan.dm4\", \"energy_range\": [423.3, 816.6]},\n"
      "  \"training\": {\"epochs\": 100},\n"
      "  \"device\": \"auto\"\n"
      "}\n"
      "```\n"
      "\n"
      "A key that is left out has its default. Unknown keys, keys that appear twice, comments and values out "
      "of\n"
      "range are errors. `null` means absent where the table allows it. On the command line `--set` "
      "overrides any\n"
      "value; text needs no quotes and a list no brackets:\n"
      "\n"
      "    eelsvae-train configs/film.json --set training.epochs=5 --set detection.window=693.3,730.5 "
      "--set device=cpu\n"
      "\n"
      "Paths are relative to the folder that the program is started in.\n";
  text += config_document::reference_tables<Config>([](const char*) { return true; });
  text += "\n## Values that must go together\n\n";
  for (const Combination& combination : combinations())
    text += std::string("- `") + combination.key + "`: " + combination.text + "\n";
  return text;
}

}  // namespace eelsvae
