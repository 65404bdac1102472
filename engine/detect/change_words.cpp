#include "engine/detect/change_words.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

#include "engine/short_number.h"

namespace eelsvae {
namespace {

// With as many decimals as the uncertainty has: of its first digit, or two where that is a 1.
std::string with_error(double value, double error, bool sign = false) {
  int decimals = 2;
  if (std::isfinite(error) && error > 0) {
    const double places = -std::floor(std::log10(error));
    const bool one = error * std::pow(10, places) < 1.95;
    decimals = static_cast<int>(std::clamp(places + (one ? 1 : 0), 0.0, 6.0));
  }
  char text[96];
  std::snprintf(text, sizeof text, sign ? "%+.*f \u00b1 %.*f" : "%.*f \u00b1 %.*f", decimals, value, decimals,
                error);
  return text;
}

std::string energy_text(double ev) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", ev);
  return text;
}

// "L2,3" of "L2" and "L3", "M4,5" of "M4,5": one element's shells of one letter.
std::string shells_text(const std::vector<std::string>& shells) {
  std::string digits;
  for (const std::string& shell : shells)
    for (const char c : shell.substr(1))
      if (c != ',' && digits.find(c) == std::string::npos) digits += c;
  std::ranges::sort(digits);
  std::string text(1, shells.front()[0]);
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0) text += ',';
    text += digits[i];
  }
  return text;
}

// Whether two peaks stand as far apart as spin and orbit split an edge. Axes are off by more than that is.
bool is_split(double apart_ev, double split_ev) {
  return std::abs(apart_ev - split_ev) <= 1 + split_ev / 5;
}

// The element that a change belongs to, of these edges: of elements that are known to be there the nearest;
// else the only one, or the one whose two edges stand as far apart as the peaks.
std::optional<std::string> element_of(const Change& change, std::span<const Edge> edges, bool known) {
  if (edges.empty()) return std::nullopt;
  const std::string& nearest = edges.front().element;
  if (known || std::ranges::count(edges, nearest, &Edge::element) == std::ssize(edges)) return nearest;
  for (const Edge& one : edges)
    for (const Edge& other : edges)
      if (one.element == other.element && one.onset_ev < other.onset_ev &&
          is_split(change.last_ev - change.first_ev, other.onset_ev - one.onset_ev))
        return one.element;
  return std::nullopt;
}

// "Fe L2,3", "the peak at 538.0 eV (Sb M4 537, O K 532)", "the peaks from 716.0 to 730.0 eV".
std::string place_of(const Change& change, std::span<const std::string> elements) {
  const std::vector<Edge> edges = edges_of(change, elements);
  const std::optional<std::string> element = element_of(change, edges, !elements.empty());
  if (element) {
    std::vector<std::string> shells;
    for (const Edge& edge : edges)
      if (edge.element == *element && (shells.empty() || edge.shell[0] == shells[0][0]))
        shells.push_back(edge.shell);
    return *element + " " + shells_text(shells);
  }
  const std::string place = change.peaks > 1 ? "the peaks from " + energy_text(change.first_ev) + " to " +
                                                   energy_text(change.last_ev)
                                             : "the peak at " + energy_text(change.last_ev);
  return place + " eV" + (edges.empty() ? "" : " (" + text_of(edges) + ")");
}

// The two lines of an edge that is split as two peaks are: "Fe L3/L2".
std::optional<std::string> split_edge(const Change& ratio, std::span<const std::string> elements) {
  const double apart = ratio.last_ev - ratio.first_ev;
  std::optional<std::string> best;
  double nearest = 0;
  for (const Edge& lower : all_edges())
    for (const auto& [low, high] : {std::pair{"L3", "L2"}, {"M5", "M4"}}) {
      if (!is_wanted(lower, elements) || lower.shell != low || std::abs(ratio.first_ev - lower.onset_ev) > 12)
        continue;
      const auto upper = std::ranges::find(all_edges(), lower.element + " " + high, &Edge::name);
      if (upper == all_edges().end()) continue;
      const double split = upper->onset_ev - lower.onset_ev,
                   distance = std::abs(ratio.first_ev - lower.onset_ev);
      if (!is_split(apart, split) || (best && distance >= nearest)) continue;
      nearest = distance;
      best = lower.element + " " + low + "/" + high;
    }
  return best;
}

std::string of_new(const char* what, const Change& change, std::span<const std::string> elements) {
  const std::vector<Edge> edges = edges_of(change, elements);
  return std::string(what) + " at " + with_error(change.first_ev, change.energy_uncertainty_ev) +
         " eV where none is expected" + (edges.empty() ? "" : " (" + text_of(edges) + ")");
}

}  // namespace

std::vector<Edge> edges_of(const Change& change, std::span<const std::string> elements) {
  // What is new has been compared with no expected peak, and its energy may lie on either side of the onset.
  constexpr double either_side = 2, most_uncertain = 4;
  switch (change.kind) {
    case ChangeKind::intensity:
    case ChangeKind::background:
    case ChangeKind::spike:
      return {};
    case ChangeKind::peak:
    case ChangeKind::edge:
      return edges_near(
          change.first_ev,
          change.first_ev + either_side + 2 * std::min(change.energy_uncertainty_ev, most_uncertain),
          elements);
    default:
      return edges_near(change.first_ev, change.last_ev, elements);
  }
}

std::string sentence(const Change& c, std::span<const std::string> elements) {
  const std::string number = with_error(c.value, c.uncertainty);
  switch (c.kind) {
    case ChangeKind::shift:
      return place_of(c, elements) + " moved by " + with_error(c.value, c.uncertainty, true) + " eV";
    case ChangeKind::width:
      return place_of(c, elements) + " " + with_error(std::abs(c.value), c.uncertainty) + " eV " +
             (c.value < 0 ? "narrower" : "broader");
    case ChangeKind::amount:
      return place_of(c, elements) + " " + number + " times as strong";
    case ChangeKind::ratio: {
      const auto edge = split_edge(c, elements);
      return (edge ? *edge
                   : "ratio of the peaks at " + energy_text(c.first_ev) + " and " + energy_text(c.last_ev) +
                         " eV") +
             " " + number + " times as high";
    }
    case ChangeKind::peak:
      return of_new(c.value < 0 ? "dip" : "peak", c, elements);
    case ChangeKind::spike:
      return std::string(c.value < 0 ? "missing counts" : "spike") + " in a channel or two at " +
             energy_text(c.first_ev) + " eV";
    case ChangeKind::edge:
      return of_new(c.value < 0 ? "step down" : "edge", c, elements);
    case ChangeKind::intensity:
      return "whole spectrum " + number + " times as bright";
    case ChangeKind::background:
      return std::string("background ") + (c.value < 0 ? "less" : "more") + " steep, r of E^-r changed by " +
             with_error(c.value, c.uncertainty, true);
  }
  return "";
}

std::string sentence(const Explanation& explanation, std::span<const std::string> elements) {
  if (explanation.channels == 0) return "";
  constexpr double clearly = 5;  // standard deviations of chi^2
  const auto channels = static_cast<double>(explanation.channels);
  const std::string left =
      "chi-squared " + short_number(explanation.chi_squared_after / channels, 3) + " per channel";
  if (explanation.changes.empty()) return "none of the known changes explains it, " + left;
  std::string text;
  for (const Change& change : explanation.changes)
    text += (text.empty() ? "" : "; ") + sentence(change, elements);
  if (explanation.chi_squared_after > channels + clearly * std::sqrt(2 * channels))
    text += "; more departs than that, " + left + " is left";
  return text;
}

}  // namespace eelsvae
