#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config.h"

namespace eelsvae {

// Configurations as strict JSON: groups of keys as in docs/config.md, no comments, no key twice, no unknown
// key. Keys that are left out keep the defaults of engine/config.h; null stands for "absent" where that is
// allowed. Every mistake is a UserError that names the origin (a file) and the key, or line and column.

// text: the JSON; origin: what messages call it. overrides: "group.key=value" as after --set, applied in
// order; keys are checked against each other only after the last of them.
Config parse_config(std::string_view text, const std::string& origin,
                    const std::vector<std::string>& overrides = {});
Config read_config(const std::filesystem::path& path, const std::vector<std::string>& overrides = {});

// Keys and values by themselves: what they are together is not asked, for they may be meant for another
// configuration, a model's.
Config parse_config_alone(std::string_view text, const std::string& origin);
// The keys that a configuration names, as "group.key=value" for set_value. Errors as parse_config_alone.
std::vector<std::string> assignments_of(std::string_view text, const std::string& origin);

// The text of a configuration file. UserError if it cannot be read or is too large to be one.
std::string read_config_text(const std::filesystem::path& path);

// Applies one "group.key=value", or "device=value" and "precision=value". The value is JSON, except that text
// needs no quotes and a list no brackets: training.epochs=5, detection.window=693.3,730.5,
// data.energy_range=null. The new value is checked by itself; check_config compares it with the others.
void set_value(Config& config, const std::string& assignment);

// Throws UserError where values that are fine by themselves do not go together.
void check_config(const Config& config, const std::string& origin);

// Every key with its value, in the order of docs/config.md; ends with a newline. parse_config reads back an
// equal configuration, numbers to the last bit. Throws UserError if a text is not UTF-8, which JSON cannot
// hold.
std::string to_json_text(const Config& config);

// The text of docs/config.md.
std::string config_reference_markdown();

}  // namespace eelsvae
