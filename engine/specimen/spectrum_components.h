#pragma once

namespace eelsvae {

// What the simulated spectra are sums of: noiseless counts in a channel of 0.3 eV at the published exposure,
// as functions of energy loss. docs/specimens.md lists every number with its source.
enum class Component {
  film,              // BiFeO3-like: background, O K and the Fe L2,3 steps, without the white lines
  film_background,   // parts of `film`, for specimens and defects in which they differ
  film_oxygen,       //
  film_oxygen_peak,  // first peak of O K (O 2p with Fe 3d)
  iron_steps,        //
  iron_lines,        // Fe L2,3 white lines, Fe3+
  reduced_iron,      // Fe L2,3 white lines of Fe2+, at lower energy
  manganese,         // Mn L2,3, steps and white lines, where Mn takes the place of Fe
  substrate,         // SrTiO3-like: background, O K and the Ti L2,3 steps, without the white lines
  substrate_background,
  substrate_oxygen,
  titanium_lines,  // Ti L2,3 white lines, split by the crystal field
  chromium         // Cr L2,3, steps and white lines, of as many Cr atoms as BiFeO3 has Fe
};
constexpr int component_count = 13;

// How a defect changes a component. Areas are kept unless a factor says otherwise.
struct EdgeChange {
  double shift_ev = 0;    // everything is moved to higher energy
  double broadening = 1;  // factor on the widths of white lines
  double l3 = 1, l2 = 1;  // factors on the areas of the white lines
  double exponent = 0;    // added to the exponent r of a background A E^-r ...
  double pivot_ev = 430;  // ... that keeps its counts at this energy
};

// iron_lines, reduced_iron and titanium_lines take every change but the last two fields, backgrounds these
// two, other components a shift.
double component_counts(Component component, const EdgeChange& change, double ev);

// The factors on the areas of the Fe white lines that change the ratio of L3 to L2 by `factor` and keep the
// sum.
EdgeChange iron_ratio_change(double factor);

}  // namespace eelsvae
