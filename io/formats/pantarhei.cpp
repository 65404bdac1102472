#include "io/formats/pantarhei.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "engine/image/units.h"
#include "io/containers/zip_archive.h"
#include "io/files/json_text.h"
#include "io/files/message_text.h"
#include "io/files/npy.h"
#include "io/files/pickle.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using nlohmann::json;

constexpr size_t header_limit = size_t{64} << 10;
constexpr size_t metadata_limit = size_t{16} << 20;

std::shared_ptr<const ZipArchive> archive_at(const std::string& path) {
  return std::make_shared<const ZipArchive>(std::make_shared<const MappedFile>(path));
}

bool recognises_pantarhei(const std::string& path, std::string_view start) {
  if (!first_zip_member(start).ends_with(".npy")) return false;
  try {
    const auto archive = archive_at(path);
    return archive->find("meta_data_json.npy") ||
           (archive->find("meta_data.npy") && archive->find("file_format_version.npy"));
  } catch (const UserError&) {
    return false;  // NumPy's archives report it
  }
}

// What the archive holds under a name, the first of a list: as JSON, or else as a pickle. Null if neither.
json described(const ZipArchive& archive, const std::string& name) {
  json list;
  if (const ZipMember* text = archive.find(name + "_json.npy")) {
    const std::string context = archive.context(*text);
    const std::string content = decode_npy_text(archive.read(*text, metadata_limit), context);
    list = parse_json_object("{\"list\": " + content + "}", context).at("list");
  } else if (const ZipMember* pickle = archive.find(name + ".npy")) {
    const std::string context = archive.context(*pickle);
    const std::vector<std::byte> content = archive.read(*pickle, metadata_limit);
    list = parse_pickle(std::span(content).subspan(npy_data_offset(content, context)), context);
  }
  return list.is_array() && !list.empty() ? list[0] : json();
}

json metadata_of(const ZipArchive& archive) {
  try {
    json metadata = described(archive, "meta_data");
    if (metadata.is_object()) return metadata;
  } catch (const UserError& error) {
    throw UserError(std::string(error.what()) +
                    "; save it as .hspy in HyperSpy: hs.load(\"in.prz\", "
                    "allow_restricted_pickle=True).save(\"out.hspy\")");
  }
  throw UserError(archive.file().path() + ": its member 'meta_data' is not a dictionary");
}

// HyperSpy writes what it has in memory, energies that rise, and no description of how it is shown. It does
// not read that back itself as it was.
bool written_by_hyperspy(const ZipArchive& archive) {
  try {
    return described(archive, "data_model") == json::object();
  } catch (const UserError&) {
    return false;
  }
}

struct FileAxis {
  Axis axis;
  std::string content;  // "ScanX", "Energy", "Index", ...; "" where that is not said
  size_t place;         // among the array's
};

// What an axis is where only the kind of the data is known; `image_place` counts from the fastest axis on.
std::string usual_content(const std::string& type, size_t axes, size_t image_place) {
  if (type == "1D") {
    constexpr std::array names = {"", "PlotIndex", "Index"};
    return image_place < names.size() ? names[image_place] : "";
  }
  return image_place >= 2 && (axes >= 3 || type == "Stack" || type == "3D") ? "Index" : "";
}

double number_of(const json& object, const char* key, double otherwise, const std::string& context) {
  const auto value = object.find(key);
  if (value == object.end() || value->is_null()) return otherwise;
  if (!value->is_number()) throw UserError(context + ": '" + key + "' of a calibration is not a number");
  return value->get<double>();
}

std::string text_of(const json& object, const char* key) {
  const auto value = object.find(key);
  return value != object.end() && value->is_string() ? one_line(value->get<std::string>()) : "";
}

// The axes of the array (shape in its order), of which metadata speak from the fastest on.
std::vector<FileAxis> axes_of(const std::vector<int64_t>& shape, const json& metadata, bool by_hyperspy,
                              const std::string& context) {
  const auto list = [&](const char* key) {
    const auto found = metadata.find(key);
    return found != metadata.end() && found->is_array() ? *found : json::array();
  };
  const json contents = list("content.types"),
             calibrations = list(by_hyperspy ? "inherited.calib" : "device.calib"),
             whole_size = list("ref_size");
  const std::string type = text_of(metadata, "type");
  std::vector<FileAxis> axes;
  for (size_t place = 0; place < shape.size(); ++place) {
    const size_t image_place = shape.size() - 1 - place;
    FileAxis found{{}, usual_content(type, shape.size(), image_place), place};
    found.axis.size = shape[place];
    if (image_place < contents.size() && contents[image_place].is_string())
      found.content = contents[image_place].get<std::string>();
    else if (!contents.empty() && type != "1D")
      found.content = "";
    if (by_hyperspy &&
        found.content.starts_with("Scan"))  // exchanged, and in the order in which it shows them
      found.content = "";
    if (image_place < calibrations.size() && calibrations[image_place].is_object()) {
      const json& calibration = calibrations[image_place];
      const double value = number_of(calibration, "value", 1, context);
      double pixels = number_of(calibration, "pixel_factor", 1, context);
      if (by_hyperspy && image_place < whole_size.size() && whole_size[image_place].is_number())
        pixels = whole_size[image_place].get<double>() / static_cast<double>(shape[place]);
      found.axis.scale = value * pixels;
      found.axis.offset = number_of(calibration, "offset", 0, context) * value;
      found.axis.units = text_of(calibration, "unit");
    }
    axes.push_back(std::move(found));
  }
  return axes;
}

bool is_energy(const FileAxis& axis) {
  return axis.content == "Energy" || electronvolts(axis.axis.units);
}

// The order in which axes are shown: what counts images, the scan, the camera, the energy.
int rank(const FileAxis& axis) {
  constexpr std::array order = {"Index", "PlotIndex", "ScanY", "ScanX", "", "CameraY", "CameraX", "Pixel"};
  if (is_energy(axis)) return std::ssize(order);
  return static_cast<int>(std::ranges::find(order, axis.content) - order.begin());
}

StoredImage open_image(const std::string& path) {
  const auto archive = archive_at(path);
  const ZipMember* data = archive->find("data.npy");
  if (!data) throw UserError(path + ": its member 'data.npy' is missing");
  const std::vector<std::byte> start = archive->read_start(*data, header_limit);
  const NpyHeader header = parse_npy_header(start, data->size, archive->context(*data));
  json metadata = metadata_of(*archive);

  const bool by_hyperspy = written_by_hyperspy(*archive);
  std::vector<FileAxis> axes = axes_of(header.shape, metadata, by_hyperspy, path);
  std::erase_if(axes, [](const FileAxis& axis) {
    return axis.axis.size == 1 && axis.content.find("Index") != std::string::npos;
  });
  std::ranges::stable_sort(axes, {}, rank);
  const bool eels = metadata.value("filter.mode", json()) == "EELS";
  if (eels && !by_hyperspy)  // an electron that lost energy stands below 0
    for (FileAxis& axis : axes)
      if (is_energy(axis)) {
        axis.axis.offset =
            axis.axis.units.empty() ? static_cast<double>(axis.axis.size - 1) : -axis.axis.offset;
        axis.axis.scale = -axis.axis.scale;
      }

  StoredArray array = stored_array(header);
  const std::vector<int64_t> strides = array.stride;
  array.shape.clear();
  array.stride.clear();
  StoredImage image;
  ImageInfo& info = image.info;
  for (FileAxis& axis : axes) {
    array.shape.push_back(axis.axis.size);
    array.stride.push_back(strides[axis.place]);
    axis.axis.name = is_energy(axis) ? "Energy loss" : axis.content;
    info.axes.push_back(axis.axis);
  }
  const bool spectra = !axes.empty() && (is_energy(axes.back()) || text_of(metadata, "type") == "1D");
  const size_t signal_axes = spectra ? 1 : std::min<size_t>(axes.size(), 2),
               others = axes.size() - signal_axes;
  if (spectra && others >= 1 && others <= 2) {
    info.axes[others - 1].name = "x";
    if (others == 2) info.axes[0].name = "y";
  }
  info.kind = image_kind(others, signal_axes);
  info.shape = array.shape;
  info.dtype = element_name(header.type);
  info.signal = eels && spectra ? "EELS" : "";
  info.title = text_of(metadata, "repo_id");
  info.title = info.title.empty() ? std::filesystem::path(path).stem().string()
                                  : info.title.substr(0, info.title.find('.'));
  image.values = zip_values(archive, *data, header.data_offset, std::move(array));
  image.metadata = [metadata = std::move(metadata)] { return json{{"original_metadata", metadata}}; };
  return image;
}

std::vector<StoredImage> open_pantarhei(const std::string& path) {
  return {open_image(path)};
}

}  // namespace

const ImageFormat pantarhei_format = {"Panta Rhei", ".prz", recognises_pantarhei, open_pantarhei};

}  // namespace eelsvae
