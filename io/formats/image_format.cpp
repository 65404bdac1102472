#include "io/formats/image_format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>

#include "kernels/error.h"

namespace eelsvae {
namespace {

struct Unit {
  const char* name;
  const char* target;
  double factor;
};

// The micro sign and the angstrom each have two code points, and a Latin-1 byte that is not UTF-8.
constexpr Unit units[] = {
    {"eV", "eV", 1},        {"ev", "eV", 1},      {"meV", "eV", 1e-3},     {"keV", "eV", 1e3},
    {"MeV", "eV", 1e6},     {"nm", "nm", 1},      {"pm", "nm", 1e-3},      {"\u00b5m", "nm", 1e3},
    {"\u03bcm", "nm", 1e3}, {"\xb5m", "nm", 1e3}, {"um", "nm", 1e3},       {"micron", "nm", 1e3},
    {"mm", "nm", 1e6},      {"m", "nm", 1e9},     {"\u00c5", "nm", 0.1},   {"\u212b", "nm", 0.1},
    {"\xc5", "nm", 0.1},    {"A", "nm", 0.1},     {"Angstrom", "nm", 0.1}, {"angstrom", "nm", 0.1},
};

}  // namespace

std::string image_kind(size_t navigation_axes, size_t signal_axes) {
  if (signal_axes == 1) {
    if (navigation_axes == 0) return "single spectrum";
    if (navigation_axes == 1) return "line scan";
    if (navigation_axes == 2) return "spectrum image";
  }
  if (signal_axes == 2) {
    if (navigation_axes == 0) return "image";
    if (navigation_axes == 1) return "stack of images";
  }
  return std::to_string(navigation_axes + signal_axes) + "-dimensional data set";
}

StoredImage or_fault(const std::string& title, const std::function<StoredImage()>& open) {
  try {
    return open();
  } catch (const UserError& error) {
    StoredImage image;
    image.info.title = title;
    image.info.kind = "damaged image";
    image.info.fault = error.what();
    return image;
  }
}

void calibrate_by_positions(Axis& axis, std::span<const double> positions, const std::string& context) {
  constexpr double tolerance = 0.1;  // of a step
  if (positions.empty()) return;
  axis.offset = positions.front();
  axis.scale = positions.size() == 1
                   ? 1
                   : (positions.back() - positions.front()) / static_cast<double>(positions.size() - 1);
  for (size_t i = 0; i < positions.size(); ++i) {
    const double even = axis.value(static_cast<double>(i));
    if (std::abs(positions[i] - even) <= tolerance * std::abs(axis.scale)) continue;
    char text[240];
    std::snprintf(text, sizeof text,
                  " is not even: number %zu is %.7g, %.7g was expected, more than %g of a step off; "
                  "interpolate the data first, in HyperSpy by s.interpolate_on_axis(\"uniform\", -1)",
                  i, positions[i], even, tolerance);
    throw UserError(context + text);
  }
}

void convert_units(Axis& axis) {
  const auto unit =
      std::find_if(std::begin(units), std::end(units), [&](const Unit& u) { return axis.units == u.name; });
  if (unit == std::end(units)) return;
  axis.units = unit->target;
  axis.scale *= unit->factor;
  axis.offset *= unit->factor;
}

}  // namespace eelsvae
