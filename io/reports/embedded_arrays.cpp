#include "io/reports/embedded_arrays.h"

namespace eelsvae {

std::string base64_of_bytes(const unsigned char* bytes, size_t size) {
  static constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((size + 2) / 3 * 4);
  for (size_t i = 0; i < size; i += 3) {
    const size_t left = std::min<size_t>(3, size - i);
    const uint32_t group =
        bytes[i] << 16 | (left > 1 ? bytes[i + 1] << 8 : 0) | (left > 2 ? bytes[i + 2] : 0);
    text += digits[group >> 18];
    text += digits[group >> 12 & 63];
    text += left > 1 ? digits[group >> 6 & 63] : '=';
    text += left > 2 ? digits[group & 63] : '=';
  }
  return text;
}

std::array<float, 2> finite_range(std::span<const float> values) {
  float low = std::numeric_limits<float>::max(), high = std::numeric_limits<float>::lowest();
  for (float v : values) {
    if (!std::isfinite(v)) continue;
    low = std::min(low, v);
    high = std::max(high, v);
  }
  return low <= high ? std::array{low, high} : std::array{0.0f, 0.0f};
}

nlohmann::json finite_json(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

nlohmann::json axis_json(const Axis& axis) {
  return {{"offset", std::isfinite(axis.offset) ? axis.offset : 0},
          {"scale", std::isfinite(axis.scale) ? axis.scale : 1},
          {"units", axis.units},
          {"size", axis.size}};
}

}  // namespace eelsvae
