#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace eelsvae {

// Text from files, which may hold any bytes, and parts of messages about files.

// UTF-8 from a text that is UTF-8 or Latin-1.
std::string utf8_text(std::string_view text);
void append_utf8(std::string& text, uint32_t point);

// Text from a file, fit for a line of output: UTF-8 whose control characters became spaces.
std::string one_line(std::string_view text);

// Every text of a tree, and every name in it, as UTF-8 without control characters but tabs and line ends.
nlohmann::json readable(const nlohmann::json& tree);

// "(50, 40, 162)", "(5,)", "()": as Python prints a tuple.
std::string shape_text(const std::vector<int64_t>& shape);

}  // namespace eelsvae
