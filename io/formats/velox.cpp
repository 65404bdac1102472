#include "io/formats/velox.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>

#include "io/containers/hdf5.h"
#include "io/files/json_text.h"
#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using hdf5::Object;
using nlohmann::json;

// The value at a path of keys; null if there is none.
json at(const json& object, std::initializer_list<const char*> keys) {
  const json* value = &object;
  for (const char* key : keys) {
    if (!value->is_object() || !value->contains(key)) return nullptr;
    value = &(*value)[key];
  }
  return *value;
}

// Velox writes most numbers as text.
std::optional<double> number(const json& value) {
  if (value.is_number()) return value.get<double>();
  if (!value.is_string()) return std::nullopt;
  const std::string& text = value.get_ref<const std::string&>();
  double result = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), result);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return result;
}

std::string text(const json& value) {
  return value.is_string() ? one_line(value.get<std::string>()) : "";
}

// A recording: /Data/<kind>/<id>.
struct Recording {
  std::string path;  // in the HDF5 file
  std::string context;
  std::vector<int64_t> shape;  // of Data
  std::string dtype;
  json metadata;  // of its first frame; an empty object if it has none
};

json json_column(const Object& group, const char* name, const std::string& context) {
  if (!hdf5::has_dataset(group, name, context)) return json::object();
  return parse_json_object(hdf5::byte_column(group, name, context), context + ": " + name);
}

std::vector<Recording> recordings(const Object& file, const std::string& kind, const std::string& path) {
  std::vector<Recording> found;
  const Object data = file.member("Data");
  if (!hdf5::has_group(data, kind, path)) return found;
  const Object group = data.member(kind);
  for (const std::string& id : hdf5::members(group, path)) {
    const std::string context = path + ": " + kind + " '" + one_line(id) + "'";
    if (!hdf5::has_group(group, id, context)) continue;
    const Object recording = group.member(id);
    if (!hdf5::has_dataset(recording, "Data", context)) continue;
    const Object dataset = recording.member("Data");
    found.push_back({"/Data/" + kind + "/" + id, context, hdf5::dataset_shape(dataset, context),
                     hdf5::dataset_dtype(dataset, context), json_column(recording, "Metadata", context)});
  }
  return found;
}

// Pixel size and place of a scan, as `BinaryResult` of a recording's metadata has them.
struct Scan {
  Axis y, x;
};

Scan scan_of(const json& metadata) {
  const json result = at(metadata, {"BinaryResult"});
  Scan scan;
  scan.y.name = "y";
  scan.x.name = "x";
  for (const auto& [axis, size, offset, unit] :
       {std::tuple{&scan.y, "height", "y", "PixelUnitY"}, std::tuple{&scan.x, "width", "x", "PixelUnitX"}}) {
    const std::optional<double> scale = number(at(result, {"PixelSize", size}));
    if (!scale) continue;
    axis->scale = *scale;
    axis->offset = number(at(result, {"Offset", offset})).value_or(0);
    axis->units = text(at(result, {unit}));
  }
  return scan;
}

// The scan that EELS was recorded in. Its own metadata lack the pixel size; those of the EDS spectrum image
// or of an image of the same size have it.
Scan eels_scan(const Object& file, const Recording& eels, const std::string& path) {
  const auto calibrated = [](const json& metadata) {
    return !at(metadata, {"BinaryResult", "PixelSize"}).is_null();
  };
  if (calibrated(eels.metadata)) return scan_of(eels.metadata);
  for (const Recording& eds : recordings(file, "SpectrumImage", path)) {
    if (calibrated(eds.metadata)) return scan_of(eds.metadata);
  }
  for (const Recording& image : recordings(file, "Image", path)) {
    const bool same = image.shape.size() >= 2 && eels.shape.size() == 3 && image.shape[0] == eels.shape[2] &&
                      image.shape[1] == eels.shape[0];
    if (same && calibrated(image.metadata)) return scan_of(image.metadata);
  }
  return scan_of(eels.metadata);
}

Axis sized(Axis axis, int64_t size) {
  axis.size = size;
  return axis;
}

StoredImage open_eels(const Object& file, const Recording& eels, const std::string& path) {
  const Object group = file.member(eels.path);
  const json acquisition = json_column(group, "AcquisitionMetadata", eels.context);
  Axis energy;
  energy.name = "Energy loss";
  const std::optional<double> offset = number(at(acquisition, {"Data", "offset"}));
  const std::optional<double> dispersion = number(at(acquisition, {"Data", "dispersion"}));
  if (offset && dispersion) {
    energy.units = "eV";
    energy.offset = *offset;
    energy.scale = *dispersion;
  }
  const Scan scan = eels_scan(file, eels, path);

  StoredImage image;
  ImageInfo& info = image.info;
  std::vector<size_t> order;
  const std::vector<int64_t>& shape = eels.shape;
  if (shape.size() == 3) {
    order = {2, 0, 1};
    info.axes = {sized(scan.y, shape[2]), sized(scan.x, shape[0]), sized(energy, shape[1])};
  } else if (shape.size() == 2) {
    order = {0, 1};
    info.axes = {sized(scan.x, shape[0]), sized(energy, shape[1])};
  } else {
    throw UserError(eels.context + ": Data has " + std::to_string(shape.size()) +
                    " dimensions, 3 (x, E, y) or 2 (x, E) are known");
  }
  for (const size_t axis : order) info.shape.push_back(shape[axis]);
  info.kind = image_kind(info.shape.size() - 1, 1);
  info.signal = "EELS";
  info.dtype = eels.dtype;
  info.title = "EELS";
  if (!energy.units.empty()) {  // tells energy ranges apart
    char range[80];
    std::snprintf(
        range, sizeof range, " %.1f to %.1f eV", energy.offset,
        energy.offset + energy.scale * static_cast<double>(std::max<int64_t>(info.shape.back() - 1, 0)));
    info.title += range;
  }
  image.values = hdf5::dataset_values(file, eels.path + "/Data", order, eels.context);
  json original = eels.metadata;
  original["AcquisitionMetadata"] = acquisition;
  image.metadata = [original = std::move(original)] { return json{{"original_metadata", original}}; };
  return image;
}

// What is in the file beside EELS.
StoredImage listed(const Recording& recording, ImageInfo info, const std::string& otherwise) {
  info.title = text(at(recording.metadata, {"BinaryResult", "Detector"}));
  if (info.title.empty()) info.title = otherwise;
  info.dtype = recording.dtype;
  return {std::move(info), nullptr, [metadata = recording.metadata] {
            return json{{"original_metadata", metadata}};
          }};
}

// (y, x, frames)
StoredImage list_image(const Recording& recording) {
  ImageInfo info;
  const std::vector<int64_t>& shape = recording.shape;
  const Scan scan = scan_of(recording.metadata);
  if (shape.size() == 2 || shape.size() == 3) {
    if (shape.size() == 3 && shape[2] != 1) info.axes.push_back(Axis{"Frame", "", 0, 1, shape[2]});
    info.axes.push_back(sized(scan.y, shape[0]));
    info.axes.push_back(sized(scan.x, shape[1]));
    for (const Axis& axis : info.axes) info.shape.push_back(axis.size);
    info.kind = image_kind(info.axes.size() - 2, 2);
  } else {
    info.kind = "array";
    info.shape = shape;
    for (const int64_t size : shape) info.axes.push_back(sized({}, size));
  }
  return listed(recording, std::move(info), "Image");
}

// (E, frames) of one EDS detector, whose calibration is that of the detector, in eV.
StoredImage list_spectrum(const Recording& recording) {
  ImageInfo info;
  info.signal = "EDS_TEM";
  Axis energy;
  energy.name = "Energy";
  const std::string name = text(at(recording.metadata, {"BinaryResult", "Detector"}));
  const json detectors = at(recording.metadata, {"Detectors"});
  for (const auto& [key, detector] : detectors.items()) {
    const std::optional<double> dispersion = number(at(detector, {"Dispersion"}));
    const std::optional<double> offset = number(at(detector, {"OffsetEnergy"}));
    if (name.empty() || text(at(detector, {"DetectorName"})) != name || !dispersion || !offset) continue;
    energy.units = "eV";
    energy.scale = *dispersion;
    energy.offset = *offset;
  }
  const std::vector<int64_t>& shape = recording.shape;
  for (size_t d = shape.size(); d-- > 1;) {
    if (shape[d] != 1) info.axes.push_back(Axis{"Frame", "", 0, 1, shape[d]});
  }
  if (!shape.empty()) info.axes.push_back(sized(energy, shape[0]));
  for (const Axis& axis : info.axes) info.shape.push_back(axis.size);
  info.kind = info.axes.empty() ? "number" : image_kind(info.axes.size() - 1, 1);
  return listed(recording, std::move(info), "Spectrum");
}

StoredImage list_stream(const Recording& recording) {
  ImageInfo info;
  info.signal = "EDS_TEM";
  info.kind = "event stream";
  info.shape = {recording.shape.empty() ? 1 : recording.shape[0]};
  info.axes = {Axis{"Event", "", 0, 1, info.shape[0]}};
  return listed(recording, std::move(info), "EDS events");
}

std::vector<StoredImage> open_velox(const std::string& path) {
  const hdf5::Object file = hdf5::open_file(path);
  std::vector<StoredImage> images;
  for (const Recording& eels : recordings(file, "EelsSpectrumImage", path))
    images.push_back(or_fault("EELS", [&] { return open_eels(file, eels, path); }));
  // Their ids are random.
  const auto first_energy = [](const StoredImage& image) {
    return image.info.axes.empty() ? std::numeric_limits<double>::infinity() : image.info.axes.back().offset;
  };
  std::stable_sort(images.begin(), images.end(), [&](const StoredImage& a, const StoredImage& b) {
    return first_energy(a) < first_energy(b);
  });
  for (const Recording& image : recordings(file, "Image", path)) images.push_back(list_image(image));
  for (const Recording& spectrum : recordings(file, "Spectrum", path))
    images.push_back(list_spectrum(spectrum));
  for (const Recording& stream : recordings(file, "SpectrumStream", path))
    images.push_back(list_stream(stream));
  return images;
}

bool recognises_velox(const std::string& path, std::string_view start) {
  if (!hdf5::has_signature(start)) return false;
  const hdf5::Object file = hdf5::open_file(path);
  if (!hdf5::has_group(file, "Data", path)) return false;
  if (hdf5::has_dataset(file, "Version", path)) {  // {"version": "13", "format": "Velox"}
    const json version = hdf5::small_dataset(file, "Version", path);
    if (version.dump().find("Velox") != std::string::npos) return true;
  }
  const Object data = file.member("Data");
  for (const char* kind : {"EelsSpectrumImage", "SpectrumImage", "SpectrumStream"}) {
    if (hdf5::has_group(data, kind, path)) return true;
  }
  return false;
}

}  // namespace

const ImageFormat velox_format = {"Velox", ".emd", recognises_velox, open_velox};

}  // namespace eelsvae
