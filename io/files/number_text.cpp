#include "io/files/number_text.h"

#include <charconv>
#include <cmath>

namespace eelsvae {

std::string count_text(int64_t count) {
  std::string digits = std::to_string(count);
  const size_t first = count < 0 ? 1 : 0;
  for (size_t i = digits.size(); i > first + 3;) digits.insert(i -= 3, 1, ',');
  return digits;
}

std::string number_text(double value) {
  if (!std::isfinite(value)) return "n/a";
  const double size = std::abs(value);
  if (size >= 999.5 && size < 1e9) return count_text(std::llround(value));
  char text[32];
  const bool scientific = size != 0 && (size < 1e-3 || size >= 1e9);
  auto end = std::to_chars(text, text + sizeof text, value,
                           scientific ? std::chars_format::scientific : std::chars_format::general,
                           scientific ? 2 : 3);
  std::string result(text, end.ptr);
  if (!scientific) return result;
  // 1.50e-07 -> 1.5e-7
  const size_t exponent = result.find('e');
  std::string mantissa = result.substr(0, exponent), power = result.substr(exponent + 1);
  while (mantissa.back() == '0') mantissa.pop_back();
  if (mantissa.back() == '.') mantissa.pop_back();
  const std::string sign = power[0] == '-' ? "-" : "";
  power.erase(0, power.find_first_not_of("+-0"));
  return mantissa + "e" + sign + power;
}

}  // namespace eelsvae
