#include "io/formats/image_format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae {
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
  const auto odd =
      std::ranges::find_if_not(positions, [](double position) { return std::isfinite(position); });
  if (odd != positions.end())
    throw UserError(context + " has no number at place " + std::to_string(odd - positions.begin()) +
                    ", NaN or infinity; leave it out and give data.energy_offset and data.dispersion");
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

void calibrate_by_vector(Axis& axis, const std::vector<int64_t>& shape, const std::string& dtype,
                         const std::function<std::vector<double>()>& numbers, const std::string& context) {
  constexpr int64_t longest_axis = int64_t{1} << 24;
  if (!dtype.starts_with("int") && !dtype.starts_with("uint") && !dtype.starts_with("float")) return;
  if (shape.size() != 1 || (shape[0] != axis.size && shape[0] != 2) || shape[0] > longest_axis)
    throw UserError(context + ": the vector has the shape " + shape_text(shape) + ", " +
                    std::to_string(axis.size) + " or 2 numbers are needed" +
                    (shape.size() == 1 && shape[0] == axis.size + 1
                         ? "; of the edges of channels save the centres, (e[1:] + e[:-1]) / 2"
                         : ""));
  if (shape[0] > 0) calibrate_by_positions(axis, numbers(), context);
}

}  // namespace eelsvae
