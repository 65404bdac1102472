#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace eelsvae {

// Parts of messages about files.

// Text from a file, fit for a line of output: control characters become spaces.
std::string one_line(std::string text);

// "(50, 40, 162)", "(5,)", "()": as Python prints a tuple.
std::string shape_text(const std::vector<int64_t>& shape);

}  // namespace eelsvae
