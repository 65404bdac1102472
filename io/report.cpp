#include "io/report.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "io/map_image.h"
#include "io/number_text.h"
#include "io/report_data.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

const unsigned char chart_js[] = {
#include "chart_js.inc"
};
const unsigned char report_css[] = {
#include "report_css.inc"
};
const unsigned char report_js[] = {
#include "report_js.inc"
};

template <size_t size>
std::string_view text_of(const unsigned char (&bytes)[size]) {
  return {reinterpret_cast<const char*>(bytes), size};
}

// Text as HTML, inside or outside of an attribute.
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

std::string spectra_text(int64_t count) {
  return count == 1 ? "spectrum" : "spectra";
}

struct Counts {
  int64_t pixels = 0, found = 0, hits = 0, known = 0, unscored = 0;  // of those that are not excluded
  int64_t excluded = 0;
};

Counts count(const DetectionReport& report) {
  Counts counts;
  for (size_t i = 0; i < report.scores.size(); ++i) {
    if (!report.excluded.empty() && report.excluded[i] != 0) {
      ++counts.excluded;
      continue;
    }
    ++counts.pixels;
    const bool found = report.mask[i] != 0, known = !report.truth.empty() && report.truth[i] != 0;
    counts.found += found;
    counts.known += known;
    counts.hits += found && known;
    counts.unscored += !std::isfinite(report.scores[i]);
  }
  return counts;
}

std::string headline(const DetectionReport& report, const Counts& counts) {
  const int64_t pixels = counts.pixels;
  const double percent = 100 * static_cast<double>(counts.found) / static_cast<double>(pixels);
  std::string text = "<p class='headline'>";
  if (counts.found == 0 && pixels == 1) {
    text += "The only spectrum fits";
  } else if (counts.found == 0) {
    text += "All " + count_text(pixels) + " spectra fit";
  } else {
    text += count_text(counts.found) + " of " + count_text(pixels) + " " + spectra_text(pixels) + " " +
            (counts.found == 1 ? "does" : "do") + " not fit (" + number_text(percent) + " %)";
  }
  if (report.threshold) text += ", threshold " + number_text(*report.threshold);
  text += "</p>\n";
  if (counts.excluded > 0) {
    text += "<p class='subline'>" + count_text(counts.excluded) +
            (counts.excluded == 1 ? " pixel is" : " pixels are") + " excluded (grey).</p>\n";
  }
  if (counts.unscored > 0) {
    text += "<p class='subline'>" + count_text(counts.unscored) + " " + spectra_text(counts.unscored) +
            " without a score.</p>\n";
  }
  if (!report.truth.empty()) {
    const int64_t false_alarms = counts.found - counts.hits;
    text += "<p class='subline'>" + count_text(counts.hits) + " of " + count_text(counts.known) +
            " known anomalies found, " + (false_alarms == 0 ? "no" : count_text(false_alarms)) +
            " false alarm" + (false_alarms == 1 ? "" : "s") + ".</p>\n";
  }
  return text;
}

std::string origin(const DetectionReport& report) {
  std::string text = "<p class='origin'>";
  auto add = [&](const std::string& part) { text += "<span>" + escaped(part) + "</span>"; };
  if (!report.data_file.empty()) add("Data: " + report.data_file);
  add(count_text(report.y.size) + " \u00d7 " + count_text(report.x.size) + " pixels (y, x)");
  const double first = report.energy.value(0),
               last = report.energy.value(static_cast<double>(report.energy.size - 1));
  add(count_text(report.energy.size) + (report.energy.size == 1 ? " channel" : " channels") +
      (report.energy.units.empty()
           ? ""
           : ", " + number_text(first) + " to " + number_text(last) + " " + report.energy.units));
  if (!report.model.empty()) add("Model: " + report.model);
  if (!report.score.empty()) add("Score: " + report.score);
  return text + "</p>\n";
}

// A titled box. The heading and the body are HTML.
std::string card(const std::string& heading, const std::string& body, const std::string& tools = "") {
  return "<section class='card'><div class='bar'>" + heading +
         (tools.empty() ? "" : "<div class='tools'>" + tools + "</div>") + "</div>\n" + body + "</section>\n";
}

std::string facts(const std::vector<std::pair<std::string, std::string>>& rows) {
  std::string text = "<table class='facts'>\n";
  for (const auto& [key, value] : rows) {
    text += "<tr><th scope='row'>" + escaped(key) + "</th><td>" + escaped(value) + "</td></tr>\n";
  }
  return text + "</table>\n";
}

std::string map_card(const DetectionReport& report) {
  std::string tools;
  if (!report.observed.empty()) {
    tools +=
        "<label><input type='radio' name='layer' value='score' checked>score</label>"
        "<label><input type='radio' name='layer' value='intensity'>mean intensity</label>";
  }
  tools += "<label><input type='checkbox' id='show-found' checked>outline what does not fit</label>";
  if (!report.truth.empty()) {
    tools += "<label><input type='checkbox' id='show-truth'>outline the truth (pink)</label>";
  }
  return card(
      "<h2>Map</h2>",
      "<canvas id='map' tabindex='0' role='img' aria-label='Map of the scores; the arrow keys move the "
      "selected pixel'></canvas>\n"
      "<div class='legend'><span class='scale'><i id='scale-bar'></i>" +
          escaped(scale_bar(report.x).label) +
          "</span><div class='colours' id='colours'></div></div>\n"
          "<p class='note' id='hover'></p>",
      tools);
}

std::string spectrum_card(const DetectionReport& report) {
  const std::string heading = "<h2 id='pixel'></h2>";
  if (report.observed.empty()) return card(heading, "<p class='note'>This report holds no spectra.</p>");
  std::string tools =
      "<label><input type='checkbox' id='show-mean'>mean of the normal spectra</label>"
      "<button type='button' id='whole-range'>whole range</button>";
  if (report.window) tools += "<button type='button' id='window-range'>scoring window</button>";
  std::string body = "<div class='plot'><canvas id='spectrum'></canvas></div>\n";
  if (!report.reconstruction.empty()) {
    body += "<div class='plot small'><canvas id='residual'></canvas></div>\n";
  }
  body += "<p class='note'><span id='resolution'></span> ";
  if (report.window) body += "The shaded window is what the score looks at. ";
  return card(heading, body + "Drag along the energy axis to magnify, double-click to see all.</p>", tools);
}

std::string ranking_card(const DetectionReport& report) {
  const std::string truth = report.truth.empty() ? "" : "<th>truth</th>";
  return card(
      "<h2>Most anomalous spectra</h2>",
      "<div class='scroll'><table id='ranking'><thead><tr><th>rank</th><th>y</th><th>x</th><th>score</th>" +
          truth + "</tr></thead><tbody></tbody></table></div>");
}

std::string truth_card(const DetectionReport& report, const Counts& counts) {
  std::string tiles = "<dl class='tiles'>\n";
  auto tile = [&](const std::string& name, const std::string& value) {
    tiles += "<div><dt>" + escaped(name) + "</dt><dd>" + value + "</dd></div>\n";
  };
  for (const auto& [name, value] : report.metrics) tile(name, number_text(value));
  tile("found", count_text(counts.hits));
  tile("missed", count_text(counts.known - counts.hits));
  tile("false alarms", count_text(counts.found - counts.hits));
  tile("rightly left", count_text(counts.pixels - counts.found - counts.known + counts.hits));
  return card("<h2>Against the truth</h2>", tiles + "</dl>");
}

std::string configuration_card(const std::string& configuration) {
  // Parsed only to lay it out, in its own order.
  const auto json = nlohmann::ordered_json::parse(configuration, nullptr, false);
  const std::string text = json.is_discarded()
                               ? configuration
                               : json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  return "<section class='card'><details><summary>Configuration</summary><pre>" + escaped(text) +
         "</pre></details></section>\n";
}

void check(const DetectionReport& report) {
  const int64_t pixels = report.y.size * report.x.size;
  const auto is = [](auto span, int64_t size) { return static_cast<int64_t>(span.size()) == size; };
  const int64_t samples = pixels * report.energy.size;
  expect(report.y.size > 0 && report.x.size > 0 && report.energy.size > 0, "a report's axes are not empty");
  expect(is(report.scores, pixels) && is(report.mask, pixels), "a report's maps match its axes");
  expect(report.excluded.empty() || is(report.excluded, pixels), "a report's exclusions match its axes");
  expect(report.truth.empty() || is(report.truth, pixels), "a report's truth matches its axes");
  expect(report.observed.empty() || is(report.observed, samples), "a report's cube matches its axes");
  expect(report.reconstruction.empty() || (is(report.reconstruction, samples) && !report.observed.empty()),
         "a report's reconstruction matches its cube");
}

}  // namespace

std::string render_report(const DetectionReport& report) {
  check(report);
  const Counts counts = count(report);
  const std::string title = escaped(report.title.empty() ? "Anomalous spectra" : report.title);

  std::string page =
      "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
      // Whatever a file's metadata may hold, the page loads and sends nothing.
      "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; script-src 'unsafe-inline'; "
      "style-src 'unsafe-inline'\">\n"
      "<meta name='viewport' content='width=device-width, initial-scale=1'>\n<title>" +
      title + "</title>\n<style>\n";
  page += text_of(report_css);
  page += "</style>\n</head>\n<body>\n<header>\n<h1>" + title + "</h1>\n" + headline(report, counts) +
          origin(report) + "</header>\n<main>\n";

  page += "<div class='row two'>\n" + map_card(report) + spectrum_card(report) +
          "</div>\n<div class='row two'>\n";
  page += card(
      "<h2>Distribution of the scores</h2>",
      "<div class='plot middle'><canvas id='histogram'></canvas></div>\n<p class='note' id='counts'></p>");
  page += ranking_card(report);
  if (!report.truth.empty()) page += truth_card(report, counts);
  if (!report.history.empty()) {
    page += card("<h2>Training</h2>", "<div class='plot middle'><canvas id='training'></canvas></div>");
  }
  if (!report.summary.empty()) page += card("<h2>Summary</h2>", facts(report.summary));
  if (!report.versions.empty()) page += card("<h2>Made with</h2>", facts(report.versions));
  page += "</div>\n";
  if (!report.configuration.empty()) page += configuration_card(report.configuration);

  page += "</main>\n<script type='application/json' id='report-data'>" + script_json(report_data(report)) +
          "</script>\n<script>\n";
  page += text_of(chart_js);
  page += "\n</script>\n<script>\n";
  page += text_of(report_js);
  return page + "</script>\n</body>\n</html>\n";
}

}  // namespace eelsvae
