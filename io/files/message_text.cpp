#include "io/files/message_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace eelsvae {
namespace {

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i]);
    if ((first >= 0x80 && first < 0xc2) || first > 0xf4) return false;
    const size_t follow = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    if (follow >= text.size() - i) return false;
    uint32_t point = follow == 0 ? first : first & (0x3fu >> follow);
    for (size_t k = 1; k <= follow; ++k) {
      const auto byte = static_cast<unsigned char>(text[i + k]);
      if (byte >> 6 != 2) return false;
      point = point << 6 | (byte & 0x3f);
    }
    if ((follow == 2 && (point < 0x800 || (point >= 0xd800 && point < 0xe000))) ||
        (follow == 3 && (point < 0x10000 || point > 0x10ffff)))
      return false;
    i += follow + 1;
  }
  return true;
}

// UTF-8 with spaces for the control characters: those below ' ', which `spared` may keep, 127, and U+0080 to
// U+009F, which terminals obey, too.
std::string without_controls(std::string_view text, std::string_view spared) {
  const std::string whole = utf8_text(text);
  std::string clean;
  for (size_t i = 0; i < whole.size(); ++i) {
    const auto byte = static_cast<unsigned char>(whole[i]);
    const bool upper = byte == 0xc2 && static_cast<unsigned char>(whole[i + 1]) < 0xa0;
    const bool control = byte < ' ' || byte == 127 || upper;
    clean += control && spared.find(whole[i]) == std::string_view::npos ? ' ' : whole[i];
    i += upper;
  }
  return clean;
}

}  // namespace

void append_utf8(std::string& text, uint32_t point) {
  const auto add = [&](uint32_t byte) { text += static_cast<char>(byte); };
  const auto follow = [&](int shift) { add(0x80 | (point >> shift & 0x3f)); };
  if (point < 0x80) {
    add(point);
  } else if (point < 0x800) {
    add(0xc0 | point >> 6);
    follow(0);
  } else if (point < 0x10000) {
    add(0xe0 | point >> 12);
    follow(6);
    follow(0);
  } else {
    add(0xf0 | point >> 18);
    follow(12);
    follow(6);
    follow(0);
  }
}

std::string utf8_text(std::string_view text) {
  if (is_utf8(text)) return std::string(text);
  std::string converted;
  for (const char c : text) append_utf8(converted, static_cast<unsigned char>(c));
  return converted;
}

std::string one_line(std::string_view text) {
  return without_controls(text, "");
}

nlohmann::json readable(const nlohmann::json& tree) {
  using nlohmann::json;
  if (tree.is_string()) return without_controls(tree.get_ref<const std::string&>(), "\t\n\r");
  if (!tree.is_structured()) return tree;
  json result = tree.is_array() ? json::array() : json::object();
  for (const auto& [key, value] : tree.items()) {
    if (tree.is_array())
      result.push_back(readable(value));
    else
      result[one_line(key)] = readable(value);
  }
  return result;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

}  // namespace eelsvae
