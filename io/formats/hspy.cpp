#include "io/formats/hspy.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "io/containers/hdf5.h"
#include "io/files/message_text.h"
#include "io/formats/hdf5_positions.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using hdf5::Object;
using nlohmann::json;

struct HspyAxis {
  Axis axis;
  std::optional<bool> navigate;
};

std::string text_or(const json& value, const std::string& otherwise) {
  return value.is_string() ? one_line(value.get<std::string>()) : otherwise;
}

// Unset names and units are stored as the text of the object that stands for them.
std::string defined_text(const json& value) {
  const std::string text = text_or(value, "");
  for (const char* undefined : {"t.Undefined", "<undefined>", "Undefined", "_None_"}) {
    if (text == undefined) return "";
  }
  return text;
}

double number_or(const json& value, double otherwise, const std::string& context) {
  const json& number = value.is_array() && value.size() == 1 ? value[0] : value;
  if (number.is_number()) return number.get<double>();
  if (!number.is_null()) throw UserError(context + " is not a number");
  return otherwise;
}

HspyAxis read_axis(const Object& experiment, size_t dimension, int64_t size, const std::string& context) {
  const std::string name = "axis-" + std::to_string(dimension);
  const std::string where = context + ", " + name;
  if (!hdf5::has_group(experiment, name, context)) throw UserError(where + " is missing");
  const Object group = experiment.member(name);
  const auto attribute = [&](const char* key) { return hdf5::attribute(group, key, where); };

  HspyAxis result;
  const double stated = number_or(attribute("size"), static_cast<double>(size), where + ": size");
  if (stated != static_cast<double>(size)) {
    char text[80];
    std::snprintf(text, sizeof text, ": size is %.17g, but the data have %lld", stated,
                  static_cast<long long>(size));
    throw UserError(where + text);
  }
  result.axis.name = defined_text(attribute("name"));
  result.axis.units = defined_text(attribute("units"));
  result.axis.size = size;
  const std::string type = text_or(attribute("_type"), "UniformDataAxis");
  if (hdf5::has_dataset(group, "axis", where)) {  // of a DataAxis, which may be even all the same
    calibrate_by_dataset(result.axis, group.member("axis"), where);
  } else if (type == "UniformDataAxis") {
    result.axis.offset = number_or(attribute("offset"), 0, where + ": offset");
    result.axis.scale = number_or(attribute("scale"), 1, where + ": scale");
  } else {
    throw UserError(where + " is not uniform (" + type +
                    "); interpolate the data first, in HyperSpy by s.interpolate_on_axis(\"uniform\", -1)");
  }
  const json navigate = attribute("navigate");
  if (!navigate.is_null())
    result.navigate =
        navigate.is_boolean() ? navigate.get<bool>() : number_or(navigate, 0, where + ": navigate") != 0;
  return result;
}

json string_at(const Object& experiment, const char* path_to_group, const char* key,
               const std::string& context) {
  std::string path;
  for (const char* p = path_to_group;; ++p) {
    if ((*p == '/' || *p == '\0') && !hdf5::has_group(experiment, path, context)) return nullptr;
    if (*p == '\0') break;
    path += *p;
  }
  return hdf5::attribute(experiment.member(path), key, context);
}

// HyperSpy spells lists as members "_list_x" and "_list_3_x", empty ones as attributes "_list_empty_x", and
// None as "_None_" (likewise for tuples). "_sig_x" are whole signals, "_bs_x" binary.
json from_hyperspy(const json& value) {
  if (value == "_None_") return nullptr;
  if (!value.is_object()) return value;
  json result = json::object();
  for (const auto& [key, member] : value.items()) {
    if (key.starts_with("_sig_") || key.starts_with("_bs_")) continue;
    json converted = from_hyperspy(member);
    const size_t prefix = key.starts_with("_list_") ? 6 : key.starts_with("_tuple_") ? 7 : 0;
    if (prefix == 0) {
      result[key] = std::move(converted);
    } else if (key.compare(prefix, 6, "empty_") == 0 && converted.is_null()) {
      result[key.substr(prefix + 6)] = json::array();
    } else if (converted.is_object()) {  // {"0": ..., "1": ...} under "_list_<length>_x"
      std::vector<std::pair<int64_t, json>> elements;
      for (auto& [place, element] : converted.items()) {
        int64_t number = 0;
        std::from_chars(place.data(), place.data() + place.size(), number);
        elements.emplace_back(number, std::move(element));
      }
      std::stable_sort(elements.begin(), elements.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
      json list = json::array();
      for (auto& element : elements) list.push_back(std::move(element.second));
      const size_t end_of_length = key.find('_', prefix);
      result[key.substr(end_of_length == std::string::npos ? prefix : end_of_length + 1)] = std::move(list);
    } else {
      result[key.substr(prefix)] = std::move(converted);
    }
  }
  return result;
}

// What HyperSpy keeps for itself: folding state, plot markers, the history of loading and saving.
const std::vector<std::string> bookkeeping = {"_HyperSpy", "Markers", "FileIO"};

json read_metadata(const Object& experiment, const std::string& context) {
  json result = json::object();
  for (const char* name : {"metadata", "original_metadata"}) {
    if (!hdf5::has_group(experiment, name, context)) continue;
    const Object group = experiment.member(name);
    result[name] = from_hyperspy(hdf5::group_as_json(group, bookkeeping, context + ", " + name));
  }
  return result;
}

// name: of its group below /Experiments.
StoredImage open_experiment(const Object& file, const std::string& name, const std::string& path) {
  const std::string place = "/Experiments/" + name;
  const std::string context = path + ": image '" + one_line(name) + "'";
  const Object group = file.member(place);
  const Object data = group.member("data");

  StoredImage image;
  ImageInfo& info = image.info;
  info.title = text_or(string_at(group, "metadata/General", "title", context), "");
  if (info.title.empty() && name != "__unnamed__") info.title = one_line(name);
  info.signal = text_or(string_at(group, "metadata/Signal", "signal_type", context), "");
  info.dtype = hdf5::dataset_dtype(data, context);

  const std::vector<int64_t> shape = hdf5::dataset_shape(data, context);
  std::vector<HspyAxis> axes;
  for (size_t i = 0; i < shape.size(); ++i) axes.push_back(read_axis(group, i, shape[i], context));
  // Files before version 2.1 say "spectrum" or "image" instead of marking axes.
  const bool old_image = text_or(string_at(group, "metadata/Signal", "record_by", context), "") == "image";
  const size_t old_signal_axes = std::min<size_t>(old_image ? 2 : 1, axes.size());
  std::vector<size_t> order;  // axes of `data` in display order: navigation first
  for (const bool navigation : {true, false}) {
    for (size_t i = 0; i < axes.size(); ++i) {
      if (axes[i].navigate.value_or(i + old_signal_axes < axes.size()) != navigation) continue;
      order.push_back(i);
      info.shape.push_back(shape[i]);
      info.axes.push_back(axes[i].axis);
    }
    if (navigation) info.kind = image_kind(order.size(), axes.size() - order.size());
  }
  image.values = hdf5::dataset_values(file, place + "/data", std::move(order), context);
  image.metadata = [=] { return read_metadata(hdf5::open_file(path).member(place), context); };
  return image;
}

std::vector<StoredImage> open_hspy(const std::string& path) {
  const hdf5::Object file = hdf5::open_file(path);
  std::vector<StoredImage> images;
  if (!hdf5::has_group(file, "Experiments", path)) return images;
  const Object experiments = file.member("Experiments");
  for (const std::string& name : hdf5::members(experiments, path)) {
    if (!hdf5::has_group(experiments, name, path)) continue;
    if (!hdf5::has_dataset(experiments.member(name), "data", path)) continue;
    images.push_back(or_fault(one_line(name), [&] { return open_experiment(file, name, path); }));
  }
  return images;
}

bool recognises_hspy(const std::string& path, std::string_view start) {
  if (!hdf5::has_signature(start)) return false;
  const hdf5::Object file = hdf5::open_file(path);
  return hdf5::attribute(file, "file_format", path) == "HyperSpy" ||
         hdf5::has_group(file, "Experiments", path);
}

}  // namespace

const ImageFormat hspy_format = {"HyperSpy", ".hspy", recognises_hspy, open_hspy};

}  // namespace eelsvae
