#include "io/files/json_text.h"

#include <string_view>

#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr int deepest = 100;

std::string without_special_numbers(std::string_view text) {
  std::string result;
  bool in_string = false;
  for (size_t i = 0; i < text.size();) {
    if (!in_string) {
      bool found = false;
      for (const std::string_view word : {"NaN", "-Infinity", "Infinity"}) {
        if (!text.substr(i).starts_with(word)) continue;
        result += "null";
        i += word.size();
        found = true;
        break;
      }
      if (found) continue;
    }
    if (in_string && text[i] == '\\' && i + 1 < text.size())
      result += text[i++];
    else if (text[i] == '"')
      in_string = !in_string;
    result += text[i++];
  }
  return result;
}

}  // namespace

nlohmann::json parse_json_object(const std::string& text, const std::string& context) {
  // What the parser builds is copied and destroyed by recursion.
  const auto shallow = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    if (depth > deepest) throw UserError(context + ": JSON nested deeper than " + std::to_string(deepest));
    return true;
  };
  const nlohmann::json object =
      nlohmann::json::parse(without_special_numbers(utf8_text(text)), shallow, false);
  if (!object.is_object()) throw UserError(context + ": not a JSON object");
  return object;
}

}  // namespace eelsvae
