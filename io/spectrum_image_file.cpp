#include "io/spectrum_image_file.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <limits>
#include <optional>

#include "io/hspy.h"
#include "io/mapped_file.h"
#include "io/ncem.h"
#include "io/nion_h5.h"
#include "io/npy.h"
#include "io/npy_image.h"
#include "io/other_hdf5.h"
#include "io/velox.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

// A new format joins here, before other_hdf5_format.
const ImageFormat* const formats[] = {
    &hspy_format, &velox_format, &nion_h5_format, &ncem_format, &npy_format, &other_hdf5_format,
};

struct Unit {
  const char* name;
  const char* target;
  double factor;
};

// The micro sign and the angstrom each have two code points, and a Latin-1 byte that is not UTF-8.
constexpr Unit units[] = {
    {"eV", "eV", 1},      {"ev", "eV", 1},         {"meV", "eV", 1e-3},     {"keV", "eV", 1e3},
    {"nm", "nm", 1},      {"pm", "nm", 1e-3},      {"\u00b5m", "nm", 1e3},  {"\u03bcm", "nm", 1e3},
    {"\xb5m", "nm", 1e3}, {"um", "nm", 1e3},       {"micron", "nm", 1e3},   {"mm", "nm", 1e6},
    {"m", "nm", 1e9},     {"\u00c5", "nm", 0.1},   {"\u212b", "nm", 0.1},   {"\xc5", "nm", 0.1},
    {"A", "nm", 0.1},     {"Angstrom", "nm", 0.1}, {"angstrom", "nm", 0.1},
};

const ImageFormat& format_of(const std::string& path) {
  std::string start;
  {
    const MappedFile file(path);
    if (file.size() == 0) throw UserError(path + ": empty file");
    start.assign(reinterpret_cast<const char*>(file.data()), std::min<size_t>(file.size(), 4096));
  }
  std::string known;
  for (const ImageFormat* format : formats) {
    if (format->recognises(path, start)) return *format;
    if (*format->extension == '\0') continue;
    known += std::string(known.empty() ? "" : ", ") + format->name + " (" + format->extension + ")";
  }
  throw UserError(path + ": not in a known format; known are " + known);
}

std::vector<StoredImage> open_converted(const std::string& path) {
  std::vector<StoredImage> images = format_of(path).open(path);
  for (StoredImage& image : images) {
    for (Axis& axis : image.info.axes) convert_units(axis);
  }
  return images;
}

std::string describe(const ImageInfo& image) {
  const bool vowel =
      !image.kind.empty() && std::string_view("aeiou").find(image.kind[0]) != std::string_view::npos;
  return (vowel ? "an " : "a ") + image.kind + " " + shape_text(image.shape);
}

// Index of the image to read.
size_t choose(const std::string& path, const std::vector<StoredImage>& images, int64_t dataset) {
  const auto count = static_cast<int64_t>(images.size());
  if (images.empty()) throw UserError(path + ": holds no image");
  if (dataset < -1 || dataset >= count)
    throw UserError(path + ": has no image " + std::to_string(dataset) + ", " +
                    (count == 1 ? "only image 0" : "it holds 0 to " + std::to_string(count - 1)));
  if (dataset >= 0) return static_cast<size_t>(dataset);
  for (const char* signal : {"EELS", ""}) {
    for (size_t i = 0; i < images.size(); ++i) {
      if (images[i].info.signal == signal && images[i].info.kind == "spectrum image") return i;
    }
  }
  if (count == 1 && images[0].info.kind != "spectrum image") return 0;  // check_shape() says what it is
  std::string found;
  for (size_t i = 0; i < std::min<size_t>(images.size(), 4); ++i) {
    found += (i ? "; " : "") + std::to_string(i) + ": " + describe(images[i].info) +
             (images[i].info.signal.empty() ? "" : " of " + images[i].info.signal);
  }
  throw UserError(path + ": holds no spectrum image (y, x, E) of EELS (" + found +
                  (count > 4 ? "; ..." : "") + "); choose one by data.dataset");
}

void check_shape(const std::string& path, const ImageInfo& image) {
  if (image.kind != "spectrum image")
    throw UserError(path + ": holds " + describe(image) + ", a spectrum image (y, x, E) is needed");
  const char* names[] = {"y", "x", "E"};
  int64_t bytes = sizeof(float);
  for (size_t i = 0; i < 3; ++i) {
    if (image.shape[i] <= 0)
      throw UserError(path + ": the spectrum image is empty: " + names[i] + " has size " +
                      std::to_string(image.shape[i]));
    if (__builtin_mul_overflow(bytes, image.shape[i], &bytes)) bytes = std::numeric_limits<int64_t>::max();
    if (bytes == std::numeric_limits<int64_t>::max()) break;
  }
  const double memory =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  if (static_cast<double>(bytes) > memory) {
    char text[96];
    std::snprintf(text, sizeof text, " needs %.1f GB as float32, this machine has %.1f GB",
                  static_cast<double>(bytes) * 1e-9, memory * 1e-9);
    throw UserError(path + ": the spectrum image " + shape_text(image.shape) + text);
  }
}

void check_axis(const std::string& path, const Axis& axis, const char* which) {
  const bool usable = std::isfinite(axis.scale) && std::isfinite(axis.offset) && axis.scale != 0;
  if (!usable || (which[0] == 'E' && axis.scale < 0)) {
    char text[160];
    std::snprintf(text, sizeof text, ": axis %s has offset %g and scale %g; %s", which, axis.offset,
                  axis.scale,
                  usable ? "energy must rise with the channel" : "both must be finite and the scale not 0");
    throw UserError(path + text);
  }
}

[[noreturn]] void refuse_infinite(const std::string& path, const SpectrumImage& image) {
  int64_t count = 0, first = -1;
  for (int64_t i = 0, n = static_cast<int64_t>(image.counts.size()); i < n; ++i) {
    if (std::isfinite(image.counts[static_cast<size_t>(i)])) continue;
    if (count++ == 0) first = i;
  }
  const int64_t channel = first % image.energy.size, pixel = first / image.energy.size;
  throw UserError(path + ": " + std::to_string(count) + (count == 1 ? " value is" : " values are") +
                  " not finite (NaN or infinite), the first at (y, x, channel) = " +
                  shape_text({pixel / image.x.size, pixel % image.x.size, channel}));
}

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

std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 127; }, ' ');
  return text;
}

std::vector<ImageInfo> list_images(const std::string& path) {
  std::vector<ImageInfo> infos;
  for (StoredImage& image : open_converted(path)) infos.push_back(std::move(image.info));
  return infos;
}

std::string image_format_name(const std::string& path) {
  return format_of(path).name;
}

SpectrumImage read_spectrum_image(const std::string& path, int64_t dataset, bool swap_axes) {
  const std::vector<StoredImage> images = open_converted(path);
  const auto& [info, values, metadata] = images[choose(path, images, dataset)];
  check_shape(path, info);
  const char* names[] = {"y", "x", "E"};
  for (size_t i = 0; i < 3; ++i) check_axis(path, info.axes[i], names[i]);
  if (!values)
    throw UserError(path + ": the spectrum image holds data of type " + info.dtype +
                    ", integers or floats are needed");

  SpectrumImage image;
  image.title = info.title;
  image.y = info.axes[0];
  image.x = info.axes[1];
  image.energy = info.axes[2];
  if (swap_axes) {
    std::swap(image.y, image.x);
    std::swap(image.y.name, image.x.name);  // the names tell the axes' places
  }
  // Metadata may hold text in another encoding; JSON is UTF-8.
  image.metadata = metadata().dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  image.counts.resize(static_cast<size_t>(image.pixels() * image.energy.size));
  std::vector<int64_t> strides = dense_strides(std::vector{image.y.size, image.x.size, image.energy.size});
  if (swap_axes) std::swap(strides[0], strides[1]);
  if (!values->read(strides, image.counts.data())) refuse_infinite(path, image);
  return image;
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
