#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// The units of axes, as files write them. The table in units.cpp is the only one: who decides which axis is
// the energy, and who converts or draws it, asks here.

// How many eV, or nm, one of the unit is; nothing where it is no unit of energy, or of length.
std::optional<double> electronvolts(std::string_view unit);
std::optional<double> nanometres(std::string_view unit);

// The unit of energy that stands in a name such as "energy_keV"; "" if none does.
std::string_view energy_unit_in(std::string_view name);

// Converts energies to eV and lengths to nm; leaves an axis in any other unit alone.
void convert_units(Axis& axis);

}  // namespace eelsvae
