#include "io/reports/page.h"

#include <map>
#include <nlohmann/json.hpp>
#include <string_view>

namespace eelsvae {
namespace {

// The files of report_page/, and Chart.js.
const std::map<std::string_view, std::string_view> page_files = {
#include "page_files.inc"
};

// JSON that may stand in a <script>: no '<' (they are in strings only, where the escape means the same),
// plain ASCII, and bytes that are not UTF-8 replaced.
std::string script_json(const nlohmann::json& data) {
  const std::string text = data.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  std::string result;
  result.reserve(text.size());
  for (char c : text) {
    if (c == '<') {
      result += "\\u003c";
    } else {
      result += c;
    }
  }
  return result;
}

// Adds a file. In HTML each {{FILE}} stands for that file, {{data}} for the data.
void add(std::string& page, std::string_view file, const std::string& data) {
  std::string_view text = file == "data" ? data : page_files.at(file);
  while (file.ends_with(".html")) {
    const size_t open = text.find("{{"), close = text.find("}}");
    if (open == std::string_view::npos) break;
    page += text.substr(0, open);
    add(page, text.substr(open + 2, close - open - 2), data);
    text.remove_prefix(close + 2);
  }
  page += text;
}

}  // namespace

std::string render_page(const std::string& name, const nlohmann::json& data) {
  std::string page;
  add(page, name, script_json(data));
  return page;
}

}  // namespace eelsvae
