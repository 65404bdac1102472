#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/specimen/atomic_columns.h"
#include "engine/specimen/pixel_material.h"

namespace eelsvae {

// What a simulated specimen and its recording are like; docs/specimens.md gives the physics and the sources.
enum class Preset {
  bfo,
  interface,
  gradient,
  drift,
  wedge,
  damage,
  hetero,
  polycrystal,
  lattice,
  lattice_110,
  lattice_interface
};
std::string preset_name(Preset preset);
std::vector<std::string> preset_names();
Preset preset_named(const std::string& name);  // UserError if there is none

// A preset is a choice of these. The values here are those of a homogeneous BiFeO3 film, `bfo`. A direction
// is 0 to the right and 90 degrees down; what is linear along it, or has a position, goes from the first
// corner of the image, or side, that lies in this direction, 0, to the last, 1.
struct SpecimenParameters {
  // Film, and from a straight line on SrTiO3-like substrate.
  bool interface = false;
  double interface_angle_deg = 15;  // from film to substrate; also the line's, to the y axis
  double interface_position = 0.5;  // where the line is
  double interface_width_nm = 3;    // over which the composition goes from 10 to 90 %
  // Share of Fe sites with Mn at both ends, linear between.
  std::array<double, 2> manganese{};
  double manganese_direction_deg = 0;
  double drift_ev = 0;  // largest energy drift of a scan line; 0: 0.1 eV, slow
  // t / mean free path at both ends, linear between; {0, 0}: spectra as published.
  std::array<double, 2> thickness{};
  double thickness_direction_deg = 90;
  double damage = 0;  // share of Fe reduced to Fe2+ at the end of the scan
  // Mean width of grains, each of one of four phases: film, film with Mn on half of the Fe sites, substrate,
  // and an even mixture of film and substrate. Boundaries are as wide as the interface. 0: one crystal.
  double grain_nm = 0;
  LatticeParameters lattice;
};
SpecimenParameters preset_parameters(Preset preset);
// Distance of neighbouring pixels, nm: fine enough for atoms where they are resolved.
double preset_pixel_nm(Preset preset);

// The specimen as it is recorded, line by line from the top, each from the left.
struct Specimen {
  int64_t height = 0, width = 0;
  std::vector<double> drift_ev;          // (y), the axis reads so much too high
  std::vector<PixelMaterial> materials;  // (y, x)
  std::optional<AtomicColumns> columns =
      {};  // where atoms are resolved; what is seen of them is in materials
};

// At a thickness of 0.5 mean free paths counts are those of the published film.
constexpr double reference_thickness = 0.5;

// UserError if a parameter cannot be.
Specimen make_specimen(const SpecimenParameters& parameters, int64_t height, int64_t width,
                       double pixel_size_nm, uint64_t seed);

}  // namespace eelsvae
