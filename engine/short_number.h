#pragma once

#include <cstdio>
#include <string>

namespace eelsvae {

// A number in a message: at most so many significant digits, without trailing zeros.
inline std::string short_number(double value, int digits = 6) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*g", digits, value);
  return text;
}

}  // namespace eelsvae
