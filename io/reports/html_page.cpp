#include "io/reports/html_page.h"

namespace eelsvae {
namespace {

const unsigned char chart_js[] = {
#include "chart_js.inc"
};
const unsigned char report_css[] = {
#include "report_css.inc"
};
const unsigned char common_js[] = {
#include "common_js.inc"
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

}  // namespace

std::string escaped(std::string_view text) {
  std::string result;
  for (char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&#39;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::string card(const std::string& heading, const std::string& body, const std::string& tools, bool wide) {
  return std::string("<section class='card") + (wide ? " wide" : "") + "'><div class='bar'>" + heading +
         (tools.empty() ? "" : "<div class='tools'>" + tools + "</div>") + "</div>\n" + body + "</section>\n";
}

std::string facts_table(const std::vector<std::pair<std::string, std::string>>& rows) {
  std::string text = "<table class='facts'>\n";
  for (const auto& [key, value] : rows) {
    text += "<tr><th scope='row'>" + escaped(key) + "</th><td>" + escaped(value) + "</td></tr>\n";
  }
  return text + "</table>\n";
}

std::string configuration_card(const std::string& configuration) {
  const auto json = nlohmann::ordered_json::parse(configuration, nullptr, false);
  const std::string text = json.is_discarded()
                               ? configuration
                               : json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  return "<section class='card'><details><summary>Configuration</summary><pre>" + escaped(text) +
         "</pre></details></section>\n";
}

std::string render(const HtmlPage& page) {
  const std::string title = escaped(page.title);
  std::string text =
      "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
      "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; script-src 'unsafe-inline'; "
      "style-src 'unsafe-inline'\">\n"
      "<meta name='viewport' content='width=device-width, initial-scale=1'>\n";
  if (page.refresh_seconds > 0)
    text += "<meta http-equiv='refresh' content='" + std::to_string(page.refresh_seconds) + "'>\n";
  text += "<title>" + title + "</title>\n<style>\n";
  text += text_of(report_css);
  text += "</style>\n</head>\n<body>\n<header>\n<h1>" + title + "</h1>\n" + page.header +
          "</header>\n<main>\n" + page.main + "</main>\n<script type='application/json' id='report-data'>" +
          script_json(page.data) + "</script>\n<script>\n";
  text += text_of(chart_js);
  text += "\n</script>\n<script>\n'use strict';\n{\n";
  text += text_of(common_js);
  for (const std::string_view script : page.scripts) text += script;
  return text + "}\n</script>\n</body>\n</html>\n";
}

}  // namespace eelsvae
