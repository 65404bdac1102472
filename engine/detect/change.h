#pragma once

#include <cstdint>
#include <vector>

namespace eelsvae {

// What a spectrum shows that is not expected of it, as a microscopist would say it.
enum class ChangeKind {
  shift,      // peaks or an edge stand at another energy
  width,      // they are broader or narrower, with their area kept
  amount,     // they are stronger or weaker
  ratio,      // neighbouring peaks have another ratio, with their sum kept
  peak,       // a peak more, or less, than expected
  spike,      // one of a channel or two, as a cosmic ray leaves it
  edge,       // a step more, or less, than expected
  intensity,  // the whole spectrum is brighter or darker
  background  // the background falls more or less steeply
};

struct Change {
  ChangeKind kind = ChangeKind::shift;
  // Where, eV: the steepest rise before the first and the place of the last of the peaks that are concerned;
  // of a ratio the places of the two highest; of what is new its own, twice. 0 of the whole spectrum.
  double first_ev = 0, last_ev = 0;
  double energy_uncertainty_ev = 0;  // of what is new; 0 of what was expected
  double value = 0;                  // in units of unit_of(kind)
  double uncertainty = 0;            // one standard deviation
  int peaks = 1;                     // from the first to the last
};

// Units of values: shift and width (full width at half maximum) "eV"; amount, ratio and
// intensity "times" what is expected; peak, spike and edge "share", the height in units of the expected
// spectrum there, in prepared units; background "exponent", added to the r of E^-r.
constexpr const char* name_of(ChangeKind kind) {
  switch (kind) {
    case ChangeKind::shift:
      return "shift";
    case ChangeKind::width:
      return "width";
    case ChangeKind::amount:
      return "amount";
    case ChangeKind::ratio:
      return "ratio";
    case ChangeKind::peak:
      return "peak";
    case ChangeKind::spike:
      return "spike";
    case ChangeKind::edge:
      return "edge";
    case ChangeKind::intensity:
      return "intensity";
    case ChangeKind::background:
      return "background";
  }
  return "?";
}
constexpr const char* unit_of(ChangeKind kind) {
  switch (kind) {
    case ChangeKind::shift:
    case ChangeKind::width:
      return "eV";
    case ChangeKind::amount:
    case ChangeKind::ratio:
    case ChangeKind::intensity:
      return "times";
    case ChangeKind::peak:
    case ChangeKind::spike:
    case ChangeKind::edge:
      return "share";
    case ChangeKind::background:
      return "exponent";
  }
  return "?";
}

// The smallest set of changes that explains a spectrum.
struct Explanation {
  std::vector<Change> changes;  // in the order in which they were found; empty: none explains it
  // r^T C^-1 r of what is not explained, before and after, and the channels that it is the sum of; 0 channels
  // where nothing was fitted.
  double chi_squared_before = 0, chi_squared_after = 0;
  int64_t channels = 0;
};

}  // namespace eelsvae
