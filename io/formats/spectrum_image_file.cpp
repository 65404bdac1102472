#include "io/formats/spectrum_image_file.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <limits>
#include <optional>

#include "engine/image/finite.h"
#include "io/containers/hdf5.h"
#include "io/files/mapped_file.h"
#include "io/files/message_text.h"
#include "io/files/npy.h"
#include "io/formats/gatan.h"
#include "io/formats/hspy.h"
#include "io/formats/ncem.h"
#include "io/formats/nion_h5.h"
#include "io/formats/nion_ndata.h"
#include "io/formats/npy_image.h"
#include "io/formats/npz_image.h"
#include "io/formats/other_hdf5.h"
#include "io/formats/ripple.h"
#include "io/formats/velox.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

// A new format joins here, a line for each. HDF5's before other_hdf5_format, Nion's archives of .npy files
// before NumPy's, and Ripple is the last, as it takes any other .raw file.
const ImageFormat* const formats[] = {
    &hspy_format,        //
    &velox_format,       //
    &nion_h5_format,     //
    &gatan_hdf5_format,  //
    &ncem_format,        //
    &other_hdf5_format,  //
    &gatan_format,       //
    &npy_format,         //
    &nion_ndata_format,  //
    &npz_format,         //
    &ripple_format,
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

const std::string default_axes = "yxE";

// Where y, x and E stand among the axes of the file.
std::array<size_t, 3> places(const std::string& axes) {
  const std::array<size_t, 3> place = {axes.find('y'), axes.find('x'), axes.find('E')};
  expect(axes.size() == 3 && place[0] < 3 && place[1] < 3 && place[2] < 3, "axes are an order of y, x and E");
  return place;
}

// Takes the options' energies instead of the file's.
void calibrate(const std::string& path, const ReadOptions& options, Axis& energy) {
  const std::optional<double>&offset = options.energy_offset, &dispersion = options.dispersion;
  if (!offset && !dispersion) return;
  if (energy.units != "eV" && !(offset && dispersion))
    throw UserError(path + ": its energy axis has no calibration in eV, so data." +
                    (offset ? "dispersion" : "energy_offset") + " is needed besides data." +
                    (offset ? "energy_offset" : "dispersion"));
  energy.units = "eV";
  energy.offset = offset.value_or(energy.offset);
  energy.scale = dispersion.value_or(energy.scale);
}

// shape: (y, x, E)
void check_shape(const std::string& path, const std::array<int64_t, 3>& shape) {
  const char* names[] = {"y", "x", "E"};
  int64_t bytes = sizeof(float);
  for (size_t i = 0; i < 3; ++i) {
    if (shape[i] <= 0)
      throw UserError(path + ": the spectrum image is empty: " + names[i] + " has size " +
                      std::to_string(shape[i]));
    if (__builtin_mul_overflow(bytes, shape[i], &bytes)) bytes = std::numeric_limits<int64_t>::max();
    if (bytes == std::numeric_limits<int64_t>::max()) break;
  }
  const double memory =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  if (static_cast<double>(bytes) > memory) {
    char text[96];
    std::snprintf(text, sizeof text, " needs %.1f GB as float32, this machine has %.1f GB",
                  static_cast<double>(bytes) * 1e-9, memory * 1e-9);
    throw UserError(path + ": the spectrum image " + shape_text({shape[0], shape[1], shape[2]}) + text);
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

}  // namespace

std::vector<StoredImage> open_images(const std::string& path) {
  const auto kept_open = hdf5::open_if_hdf5(path);
  std::vector<StoredImage> images = format_of(path).open(path);
  for (auto& [info, values, metadata] : images) {
    info.title = one_line(info.title);
    info.signal = one_line(info.signal);
    for (Axis& axis : info.axes) {
      axis.name = one_line(axis.name);
      axis.units = one_line(axis.units);
      convert_units(axis);
    }
  }
  return images;
}

std::vector<ImageInfo> list_images(const std::string& path) {
  std::vector<ImageInfo> infos;
  for (StoredImage& image : open_images(path)) infos.push_back(std::move(image.info));
  return infos;
}

std::string image_format_name(const std::string& path) {
  const auto kept_open = hdf5::open_if_hdf5(path);
  return format_of(path).name;
}

std::vector<std::string> image_files(const std::string& path) {
  const ImageFormat& format = format_of(path);
  return format.files ? format.files(path) : std::vector{path};
}

SpectrumImage read_spectrum_image(const std::string& path, const ReadOptions& options, bool* all_finite,
                                  const StopToken& stop) {
  std::vector<StoredImage> images = open_images(path);
  auto& [info, values, metadata] = images[choose(path, images, options.dataset)];
  const bool reordered = options.axes != default_axes;
  if (info.kind != "spectrum image" && !(reordered && info.axes.size() == 3))
    throw UserError(path + ": holds " + describe(info) + ", a spectrum image (y, x, E) is needed");
  const std::array<size_t, 3> place = places(options.axes);
  const std::array<int64_t, 3> shape = {info.shape[place[0]], info.shape[place[1]], info.shape[place[2]]};
  check_shape(path, shape);
  if (!values)
    throw UserError(path + ": the spectrum image holds data of type " + info.dtype +
                    ", integers or floats are needed");

  SpectrumImage image;
  image.title = info.title;
  image.y = info.axes[place[0]];
  image.x = info.axes[place[1]];
  image.energy = info.axes[place[2]];
  if (reordered) {  // a file that misplaces its axes also misnames them
    image.y.name = "y";
    image.x.name = "x";
    image.energy.name = "Energy loss";
  }
  calibrate(path, options, image.energy);
  check_axis(path, image.y, "y");
  check_axis(path, image.x, "x");
  check_axis(path, image.energy, "E");
  if (options.swap_axes) {
    std::swap(image.y, image.x);
    std::swap(image.y.name, image.x.name);  // the names tell the axes' places
  }
  image.metadata = readable(metadata()).dump();
  image.counts.resize(static_cast<size_t>(image.pixels() * image.energy.size));
  std::vector<int64_t> target = dense_strides(std::vector{image.y.size, image.x.size, image.energy.size});
  if (options.swap_axes) std::swap(target[0], target[1]);
  std::vector<int64_t> strides(3);  // of the file's axes
  for (size_t i = 0; i < 3; ++i) strides[place[i]] = target[i];
  const bool finite = values->read(strides, image.counts.data(), stop);
  if (all_finite)
    *all_finite = finite;
  else if (!finite)
    throw UserError(path + ": " + not_finite_text(image));
  return image;
}

}  // namespace eelsvae
