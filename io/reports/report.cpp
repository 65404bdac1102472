#include "io/reports/report.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "io/files/number_text.h"
#include "io/reports/html_page.h"
#include "io/reports/map_image.h"
#include "io/reports/report_data.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

const unsigned char map_js[] = {
#include "map_js.inc"
};
const unsigned char spectra_js[] = {
#include "spectra_js.inc"
};
const unsigned char detection_js[] = {
#include "detection_js.inc"
};

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
  if (report.false_discovery_rate) {
    text += ", at a false-discovery rate of " + number_text(100 * *report.false_discovery_rate) + " %";
  } else if (report.threshold) {
    text += ", threshold " + number_text(*report.threshold);
    if (!report.threshold_method.empty()) text += " (" + escaped(report.threshold_method) + ")";
  }
  text += "</p>\n";
  if (report.false_discoveries && counts.found > 0) {
    const auto expected = static_cast<int64_t>(std::llround(*report.false_discoveries));
    text += "<p class='subline'>" + (expected == 0 ? "None" : "About " + count_text(expected)) + " of them " +
            (expected <= 1 ? "is" : "are") + " expected to be false.</p>\n";
  }
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

std::string map_card(const DetectionReport& report) {
  std::string tools = "<span id='layers'></span>";
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
  std::string body;
  if (!report.deviations.empty()) body += "<p class='explanation' id='deviation'></p>\n";
  body += "<div class='plot'><canvas id='spectrum'></canvas></div>\n";
  if (!report.reconstruction.empty()) {
    body += "<div class='plot small'><canvas id='residual'></canvas></div>\n";
  }
  body += "<p class='note'><span id='resolution'></span> ";
  if (report.window) body += "<span class='swatch band'></span> what the score looks at. ";
  if (!report.deviations.empty())
    body += "<span class='swatch deviation'></span> where the spectrum deviates the most. ";
  return card(heading, body + "Drag along the energy axis to magnify, double-click to see all.</p>", tools);
}

std::string ranking_card(const DetectionReport& report) {
  const std::string truth = report.truth.empty() ? "" : "<th>truth</th>";
  return card(
      "<h2>Most anomalous spectra</h2>",
      "<div class='scroll'><table id='ranking'><thead><tr><th>rank</th><th>y</th><th>x</th><th>score</th>" +
          truth + "</tr></thead><tbody></tbody></table></div>");
}

std::string regions_card(const DetectionReport& report) {
  const bool nearby = !report.y.units.empty() && report.y.units == report.x.units;
  const std::string units = nearby ? escaped(report.x.units) : "";
  return card("<h2>Anomalous regions</h2>",
              "<div class='scroll'><table id='regions'><thead><tr><th>rank</th><th>pixels</th>" +
                  (nearby ? "<th>area (" + units + "²)</th>" : std::string()) + "<th>y (" +
                  (report.y.units.empty() ? "px" : escaped(report.y.units)) + ")</th><th>x (" +
                  (report.x.units.empty() ? "px" : escaped(report.x.units)) +
                  ")</th><th>highest score</th><th>largest deviation</th></tr></thead><tbody></tbody></table>"
                  "</div>\n<p class='note' id='region-note'></p>",
              "", true);
}

std::string latent_card() {
  return card("<h2>Tiles in latent space</h2>",
              "<div class='plot middle'><canvas id='latent'></canvas></div>\n<p class='note' "
              "id='latent-note'></p>");
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

void check(const DetectionReport& report) {
  const int64_t pixels = report.y.size * report.x.size;
  const auto is = [](auto span, int64_t size) { return static_cast<int64_t>(span.size()) == size; };
  const int64_t samples = pixels * report.energy.size;
  expect(report.y.size > 0 && report.x.size > 0 && report.energy.size > 0, "a report's axes are not empty");
  expect(is(report.scores, pixels) && is(report.mask, pixels), "a report's maps match its axes");
  expect(report.excluded.empty() || is(report.excluded, pixels), "a report's exclusions match its axes");
  expect(report.truth.empty() || is(report.truth, pixels), "a report's truth matches its axes");
  expect(report.observed.empty() || is(report.observed, samples), "a report's cube matches its axes");
  expect(report.deviations.empty() || is(report.deviations, pixels), "a report's deviations match its axes");
  for (const Deviation& d : report.deviations)
    expect(d.first >= 0 && d.last <= report.energy.size, "a report's deviations lie on its energy axis");
  for (const Region& region : report.regions) {
    expect(region.deviation.empty() || is(std::span(region.deviation), report.energy.size),
           "a region's deviation matches its report's axes");
    expect(region.strongest >= 0 && region.strongest < pixels &&
               std::ranges::all_of(region.pixels, [&](int64_t p) { return p >= 0 && p < pixels; }),
           "a region lies in its report's map");
  }
  for (const MapLayer& layer : report.layers)
    expect(is(layer.values, pixels), "a report's layers match its axes");
  if (report.latent) {
    const LatentTiles& latent = *report.latent;
    const size_t tiles = latent.origins.size();
    expect(latent.size > 0 && (tiles == 0 ? latent.means.empty()
                                          : !latent.means.empty() && latent.means.size() % tiles == 0),
           "every tile of a report has its latent vector");
    for (const TileOrigin& o : latent.origins)
      expect(o.y >= 0 && o.x >= 0 && o.y + latent.size <= report.y.size && o.x + latent.size <= report.x.size,
             "a report's tiles lie in its map");
  }
  expect(report.reconstruction.empty() || (is(report.reconstruction, samples) && !report.observed.empty()),
         "a report's reconstruction matches its cube");
}

}  // namespace

std::string render_report(const DetectionReport& report) {
  check(report);
  const Counts counts = count(report);
  HtmlPage page;
  page.title = report.title.empty() ? "Anomalous spectra" : report.title;
  page.header = headline(report, counts) + origin(report);

  std::string& main = page.main;
  main += "<div class='row two'>\n" + map_card(report) + spectrum_card(report) +
          "</div>\n<div class='row two'>\n";
  main += card(
      "<h2>Distribution of the scores</h2>",
      "<div class='plot middle'><canvas id='histogram'></canvas></div>\n<p class='note' id='counts'></p>");
  main += ranking_card(report);
  if (!report.regions.empty()) main += regions_card(report);
  if (report.latent && !report.latent->origins.empty()) main += latent_card();
  if (!report.truth.empty()) main += truth_card(report, counts);
  if (!report.history.empty()) {
    main += card("<h2>Training</h2>", "<div class='plot middle'><canvas id='training'></canvas></div>");
  }
  if (!report.summary.empty()) main += card("<h2>Summary</h2>", facts_table(report.summary));
  if (!report.versions.empty()) main += card("<h2>Made with</h2>", facts_table(report.versions));
  main += "</div>\n";
  if (!report.configuration.empty()) main += configuration_card(report.configuration);

  page.data = report_data(report);
  page.scripts = {text_of(map_js), text_of(spectra_js), text_of(detection_js)};
  return render(page);
}

}  // namespace eelsvae
