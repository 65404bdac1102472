#include "engine/image/units.h"

#include <algorithm>
#include <iterator>

namespace eelsvae {
namespace {

constexpr std::string_view energy = "eV", length = "nm";

struct Unit {
  std::string_view name, of;
  double size;
};

// The micro sign and the angstrom each have two code points, and a Latin-1 byte that is not UTF-8.
constexpr Unit units[] = {
    {"eV", energy, 1},
    {"ev", energy, 1},
    {"EV", energy, 1},
    {"electronvolt", energy, 1},
    {"electronvolts", energy, 1},
    {"electron volt", energy, 1},
    {"electron volts", energy, 1},
    {"meV", energy, 1e-3},
    {"keV", energy, 1e3},
    {"kev", energy, 1e3},
    {"KeV", energy, 1e3},
    {"KEV", energy, 1e3},
    {"MeV", energy, 1e6},
    {"nm", length, 1},
    {"pm", length, 1e-3},
    {"\u00b5m", length, 1e3},
    {"\u03bcm", length, 1e3},
    {"\xb5m", length, 1e3},
    {"um", length, 1e3},
    {"micron", length, 1e3},
    {"mm", length, 1e6},
    {"m", length, 1e9},
    {"\u00c5", length, 0.1},
    {"\u212b", length, 0.1},
    {"\xc5", length, 0.1},
    {"A", length, 0.1},
    {"Angstrom", length, 0.1},
    {"angstrom", length, 0.1},
};

// Spaces and brackets around a unit are none of it: " [eV]".
const Unit* find(std::string_view name) {
  constexpr std::string_view around = " \t[]()";
  const size_t first = name.find_first_not_of(around);
  if (first == name.npos) return nullptr;
  name = name.substr(first, name.find_last_not_of(around) + 1 - first);
  const auto* unit = std::ranges::find(units, name, &Unit::name);
  return unit == std::end(units) ? nullptr : unit;
}

std::optional<double> size_of(std::string_view name, std::string_view of) {
  const Unit* unit = find(name);
  return unit && unit->of == of ? std::optional(unit->size) : std::nullopt;
}

}  // namespace

std::optional<double> electronvolts(std::string_view unit) {
  return size_of(unit, energy);
}
std::optional<double> nanometres(std::string_view unit) {
  return size_of(unit, length);
}

std::string_view energy_unit_in(std::string_view name) {
  std::string_view longest;  // "meV" holds "eV"
  for (const Unit& unit : units)
    if (unit.of == energy && unit.name.size() > longest.size() && name.find(unit.name) != name.npos)
      longest = unit.name;
  return longest;
}

void convert_units(Axis& axis) {
  const Unit* unit = find(axis.units);
  if (!unit) return;
  axis.units = unit->of;
  axis.scale *= unit->size;
  axis.offset *= unit->size;
}

}  // namespace eelsvae
