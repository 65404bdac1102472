#pragma once

#include <span>
#include <string>
#include <vector>

namespace eelsvae {

// An ionisation edge as EELS shows it.
struct Edge {
  std::string element, shell;  // "Fe", "L3"; "M4,5" where two have one onset
  double onset_ev = 0;
  bool major = true;  // one that elements are identified by

  std::string name() const;  // "Fe L3"
};

// Of all elements, by onset.
const std::vector<Edge>& all_edges();

// Whether there are edges of an element with this symbol, in capitals or not.
bool is_element(const std::string& symbol);

// Whether an edge is of one of these elements, or, if none are given, a major one.
bool is_wanted(const Edge& edge, std::span<const std::string> elements);

// The edges that a deviation between two energies may belong to, the nearest to its beginning first, three at
// most: those whose onset lies in it, or so little below that it may lie in the white line; those that
// are wanted.
std::vector<Edge> edges_near(double from_ev, double to_ev, std::span<const std::string> elements);

// "Fe L3 708, Co L3 779".
std::string text_of(std::span<const Edge> edges);

}  // namespace eelsvae
