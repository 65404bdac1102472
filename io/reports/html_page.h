#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace eelsvae {

// Parts of reports. A report is one HTML file that loads and sends nothing, whatever the text in it may hold.

// A file that the build embedded (CMake's embed()).
template <size_t size>
std::string_view text_of(const unsigned char (&bytes)[size]) {
  return {reinterpret_cast<const char*>(bytes), size};
}

// Text as HTML, inside or outside of an attribute.
std::string escaped(std::string_view text);

// A titled box. The heading, the body and the tools beside the heading are HTML.
std::string card(const std::string& heading, const std::string& body, const std::string& tools = "",
                 bool wide = false);

// A table of names and what they stand for, both as text.
std::string facts_table(const std::vector<std::pair<std::string, std::string>>& rows);

// A box to be opened that shows JSON in its own order, or the text as it is where it is no JSON.
std::string configuration_card(const std::string& configuration);

struct HtmlPage {
  std::string title;         // text
  int refresh_seconds = 0;   // 0: never
  std::string header, main;  // HTML
  nlohmann::json data;       // for the scripts
  std::vector<std::string_view>
      scripts;  // which run in one scope, in this order, after Chart.js and common.js
};
std::string render(const HtmlPage& page);

}  // namespace eelsvae
