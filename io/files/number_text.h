#pragma once

#include <cstdint>
#include <string>

namespace eelsvae {

// Numbers as people read them, whatever the locale.

// 9216 -> "9,216".
std::string count_text(int64_t count);

// Three significant digits, whole numbers with separators from a thousand on: 0.66189 -> "0.662",
// 12.345 -> "12.3", 12345.6 -> "12,346", 1.5e-7 -> "1.5e-7". "n/a" if not finite.
std::string number_text(double value);

}  // namespace eelsvae
