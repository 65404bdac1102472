#include "io/formats/gatan_image.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <iterator>
#include <string_view>

#include "engine/image/units.h"
#include "io/files/message_text.h"
#include "io/formats/gatan_tags.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using nlohmann::json;

constexpr size_t most_dimensions = 8;  // DigitalMicrograph makes up to five

struct DataType {
  int64_t code;
  const char* name;
  std::optional<ElementType> type;
};

// ImageData.DataType. Packed complex numbers are half of a Fourier transform.
constexpr DataType data_types[] = {
    {1, "int16", ElementType::int16},
    {2, "float32", ElementType::float32},
    {3, "complex64", {}},
    {5, "packed complex64", {}},
    {6, "uint8", ElementType::uint8},
    {7, "int32", ElementType::int32},
    {8, "RGBA", {}},
    {9, "int8", ElementType::int8},
    {10, "uint16", ElementType::uint16},
    {11, "uint32", ElementType::uint32},
    {12, "float64", ElementType::float64},
    {13, "complex128", {}},
    {14, "bool", ElementType::boolean},
    {23, "RGBA", {}},
    {27, "packed complex64", {}},
    {28, "packed complex128", {}},
    {39, "int64", ElementType::int64},
    {40, "uint64", ElementType::uint64},
};

std::string text_at(const json& tree, std::string_view path) {
  const json& tag = tag_at(tree, path);
  return tag.is_string() ? one_line(tag.get<std::string>()) : "";
}

double number_at(const json& tree, std::string_view path, double otherwise) {
  const json& tag = tag_at(tree, path);
  return tag.is_number() ? tag.get<double>() : otherwise;
}

// HyperSpy's name of the signal, decided as in RosettaSciIO. Orsay's plug-in leaves the tag spim.
std::string signal_type(const json& image) {
  const std::string signal = text_at(image, "ImageTags.Meta Data.Signal");
  if (signal == "X-ray") return "EDS_TEM";
  if (signal == "CL" || !tag_at(image, "ImageTags.Acquisition.Monarc Spectrometer").is_null()) return "CL";
  if (signal == "EELS" || !tag_at(image, "ImageTags.spim.eels").is_null()) return "EELS";
  return "";
}

// The dimension of the spectra, none for images. A dimension in eV is it wherever it stands. Otherwise the
// tags decide: spectrum images are [x, y, E] and line scans [E, x]. Three uncalibrated dimensions without any
// such tag, which scripts and old versions leave, are taken for a spectrum image too.
std::optional<size_t> signal_dimension(const json& image, const std::vector<Axis>& axes) {
  if (axes.size() == 1) return 0;
  for (size_t d = axes.size(); d-- > 0;) {
    if (electronvolts(axes[d].units)) return d;
  }
  std::string format = text_at(image, "ImageTags.Meta Data.Format");
  std::transform(format.begin(), format.end(), format.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  const bool spectra = format == "spectrum image" || format == "spectrum" || format == "line scan" ||
                       !tag_at(image, "ImageTags.spim").is_null();
  if (!spectra && !format.empty()) return std::nullopt;
  if (spectra) return axes.size() == 2 ? 0 : 2;
  if (axes.size() == 3 && axes[2].units.empty()) return 2;
  return std::nullopt;
}

// The axis of dimension d: value = (index - Origin) * Scale.
Axis calibrated_axis(const json& image, size_t d, int64_t size) {
  const std::string tag = "ImageData.Calibrations.Dimension.TagGroup" + std::to_string(d) + ".";
  Axis axis;
  axis.size = size;
  axis.units = text_at(image, tag + "Units");
  axis.scale = number_at(image, tag + "Scale", 1);
  axis.offset = 0 - number_at(image, tag + "Origin", 0) * axis.scale;  // never -0
  return axis;
}

std::string signal_axis_name(const std::string& signal) {
  if (signal == "EDS_TEM") return "Energy";
  return signal == "CL" ? "Wavelength" : "Energy loss";
}

void name_axes(std::vector<Axis>& axes, std::optional<size_t> signal, const std::string& signal_type) {
  const char* names[] = {"x", "y", "z"};
  size_t next = 0;
  for (size_t d = 0; d < axes.size(); ++d) {
    axes[d].name = d == signal               ? signal_axis_name(signal_type)
                   : next < std::size(names) ? names[next]
                                             : "axis-" + std::to_string(next);
    if (d != signal) ++next;
  }
}

}  // namespace

std::vector<size_t> gatan_images(const json& tags) {
  std::vector<size_t> places;
  for (size_t i = 0; gatan_image_tag(tags, i).is_object(); ++i) {
    if (gatan_image_tag(tags, i).contains("ImageData")) places.push_back(i);
  }
  const json& thumbnails = tag_at(tags, "Thumbnails");
  if (!thumbnails.is_object()) return places;
  for (const json& thumbnail : thumbnails) {
    const json& index = tag_at(thumbnail, "ImageIndex");
    if (!index.is_number_integer()) continue;
    std::erase_if(places, [&](size_t place) { return index == place; });
  }
  return places;
}

const json& gatan_image_tag(const json& tags, size_t place) {
  return tag_at(tags, "ImageList.TagGroup" + std::to_string(place));
}

GatanImage gatan_image(const json& image, const std::vector<int64_t>& sizes, const std::string& context) {
  if (sizes.empty() || sizes.size() > most_dimensions)
    throw UserError(context + " has " + std::to_string(sizes.size()) + " dimensions, 1 to " +
                    std::to_string(most_dimensions) + " are possible");
  GatanImage result;
  result.info.title = text_at(image, "Name");
  result.info.signal = signal_type(image);
  const json& code = tag_at(image, "ImageData.DataType");
  if (code.is_number_integer()) {
    const auto type = std::find_if(std::begin(data_types), std::end(data_types),
                                   [&](const DataType& entry) { return code == entry.code; });
    result.info.dtype = type == std::end(data_types) ? "Gatan type " + code.dump() : type->name;
    if (type != std::end(data_types)) result.type = type->type;
  }

  std::vector<Axis> axes;
  for (size_t d = 0; d < sizes.size(); ++d) axes.push_back(calibrated_axis(image, d, sizes[d]));
  const std::optional<size_t> signal = signal_dimension(image, axes);
  name_axes(axes, signal, result.info.signal);

  // A spectrum may be kept as a line scan of one pixel.
  const bool lone_spectrum = signal && axes.size() == 2 && axes[1 - *signal].size == 1;
  for (size_t d = axes.size(); d-- > 0;) {
    if (d != signal && !lone_spectrum) result.dimensions.push_back(d);
  }
  if (signal) result.dimensions.push_back(*signal);
  const size_t signal_axes = signal ? 1 : 2;
  result.info.kind = image_kind(result.dimensions.size() - signal_axes, signal_axes);
  for (const size_t d : result.dimensions) {
    result.info.axes.push_back(axes[d]);
    result.info.shape.push_back(axes[d].size);
  }
  return result;
}

}  // namespace eelsvae
