#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/specimen/specimen.h"

namespace eelsvae {

// Anomalies of a simulated specimen. Each changes the noiseless spectrum that a pixel would have, with the
// pixel's own composition, drift and thickness, and noise comes afterwards; but extra noise and cosmic rays
// are of the recording. docs/specimens.md says what each strength means.
enum class DefectKind {
  fe_shift,     // Fe L2,3 white lines moved by +-strength, eV
  o_shift,      // O K edge moved by +-strength, eV
  ti_shift,     // Ti L2,3 white lines moved by +-strength, eV
  white_lines,  // ratio of Fe L3 to L2 times 1 +- strength; the sum of their areas stays
  broadening,   // widths of the Fe white lines times 1 + strength; areas stay
  intensity,    // all counts times 1 +- strength
  background,   // exponent of the background +- strength; the counts at the middle of the axis stay
  oxygen,       // O K edge times 1 - strength
  scattering,   // plural scattering of strength more mean free paths
  cosmic,       // a cosmic ray of strength counts
  foreign,      // Cr L2,3 edge of strength Cr atoms per Fe atom of BiFeO3
  extra_noise,  // variance of the noise times 1 + strength
  // Of columns of atoms, where these are resolved.
  antisite,       // Fe, or Ti in the substrate, on the share `strength` of the A sites of a column
  vacancy,        // the share `strength` of the metal of a column is missing
  dopant,         // Mn on the share `strength` of the Fe sites of a column
  stacking,       // five cells of a row, moved along it by +-strength cells
  interface_step  // the interface, along five cells, `strength` cells further to either side
};
// Whether a kind changes columns of atoms; it has the shape that the probe gives to them.
bool changes_columns(DefectKind kind);

// What one anomaly covers.
enum class DefectShape {
  pixel,
  disc,    // pixels whose centres are at most `radius` from the middle one
  line,    // 2 radius + 1 pixels in one of four directions: along x, along y and along both diagonals
  lattice  // an atomic column: a disc of a quarter of `radius`, rounded down, whose middle is a site of a
           // square lattice of `radius` pixels that is laid over the whole image
};

struct Defect {
  DefectKind kind = DefectKind::fe_shift;
  double strength = 0;
  DefectShape shape = DefectShape::pixel;
  double radius = 0;  // pixels; a whole number for line and lattice
  // Below 1 the share of the image's pixels that are to be anomalous, of columns of atoms the share of those
  // that can be, otherwise the number of anomalies; absent: an equal part of SimulationSettings::anomalies.
  std::optional<double> amount;
};

// KIND:STRENGTH[:SHAPE[:RADIUS]][@AMOUNT], of columns of atoms KIND:STRENGTH[@AMOUNT], say
// "broadening:0.5:disc:2" or "cosmic:4000@20". Without a radius a disc has 1.5 pixels, a line 3, a lattice 4.
// UserError if it cannot be read or its strength cannot be.
Defect parse_defect(const std::string& text);

std::string kind_name(DefectKind kind);
std::string shape_name(DefectShape shape);
std::string strength_unit(DefectKind kind);
// All kinds with units, one line each, for --help.
std::string describe_defect_kinds();
// "fe-shift 2.4 eV".
std::string defect_name(const Defect& defect);

// UserError if the strength or the shape cannot be.
void check_defect(const Defect& defect);

// The share of a pixel's sites that a kind needs and the pixel has; Fe for fe_shift, Ti for ti_shift.
double host_share(DefectKind kind, const PixelMaterial& material);

struct DefectPlaces {
  std::vector<uint8_t> labels;  // (y, x): 0 normal, k for the k-th defect
  std::vector<int8_t> signs;    // (y, x): +1 or -1, a fair coin for each anomaly; 0 normal
  // (y, x), 1: neither normal nor labelled, because a changed column shows here by between a twentieth and
  // half of the most that it does anywhere. Empty without changed columns.
  std::vector<uint8_t> faint = {};
  std::vector<PixelMaterial> materials = {};  // (y, x) of the specimen with its columns changed; else empty
};

// Anomalies lie inside the image, do not overlap, and all their pixels have half a host share or more. Those
// of columns of atoms change the materials; they are labelled where they show by half of the most that
// they do anywhere, in the amount of any element or of the background. `anomalies` as SimulationSettings has
// it. UserError if they do not fit.
DefectPlaces place_defects(const std::vector<Defect>& defects, double anomalies, const Specimen& specimen,
                           uint64_t seed);

}  // namespace eelsvae
