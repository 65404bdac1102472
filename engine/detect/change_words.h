#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/detect/change.h"
#include "engine/detect/edges.h"

namespace eelsvae {

// The edges that a change may belong to, of these elements or else the major ones of any, as edges_near() has
// them; none for a change of the whole spectrum.
std::vector<Edge> edges_of(const Change& change, std::span<const std::string> elements);

// "Fe L2,3 moved by +1.20 ± 0.08 eV": a change in a sentence, energies in eV.
std::string sentence(const Change& change, std::span<const std::string> elements);

// All changes, or that none explains it, and how much is left if that is more than noise; "" where nothing
// was fitted.
std::string sentence(const Explanation& explanation, std::span<const std::string> elements);

}  // namespace eelsvae
