#include "io/formats/hyperspy.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <optional>
#include <utility>

#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

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

HspyAxis read_axis(const HyperspyFile& file, const std::string& experiment, size_t dimension, int64_t size,
                   const std::string& context) {
  const std::string name = "axis-" + std::to_string(dimension), group = experiment + "/" + name;
  const std::string where = context + ", " + name;
  if (!file.has_group(group, context)) throw UserError(where + " is missing");
  const auto attribute = [&](const char* key) { return file.attribute(group, key, where); };

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
  if (const std::string positions = group + "/axis";
      file.has_array(positions, where)) {  // of a DataAxis, which may be even all the same
    calibrate_by_vector(
        result.axis, file.shape(positions, where), file.dtype(positions, where),
        [&] { return file.numbers(positions, where); }, where);
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

// Null if one of the groups on the way is missing.
json attribute_at(const HyperspyFile& file, const std::string& experiment, const char* path_to_group,
                  const char* key, const std::string& context) {
  std::string path = experiment + "/";
  for (const char* p = path_to_group;; ++p) {
    if ((*p == '/' || *p == '\0') && !file.has_group(path, context)) return nullptr;
    if (*p == '\0') break;
    path += *p;
  }
  return file.attribute(path, key, context);
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

json read_metadata(const HyperspyFile& file, const std::string& experiment, const std::string& context) {
  json result = json::object();
  for (const char* name : {"metadata", "original_metadata"}) {
    const std::string group = experiment + "/" + name;
    if (file.has_group(group, context))
      result[name] = from_hyperspy(file.tree(group, bookkeeping, context + ", " + name));
  }
  return result;
}

// name: of its group below Experiments.
StoredImage open_experiment(const std::shared_ptr<const HyperspyFile>& file, const std::string& name,
                            const std::string& path) {
  const std::string place = "Experiments/" + name, data = place + "/data";
  const std::string context = path + ": image '" + one_line(name) + "'";
  const auto text_at = [&](const char* group, const char* key) {
    return text_or(attribute_at(*file, place, group, key, context), "");
  };

  StoredImage image;
  ImageInfo& info = image.info;
  info.title = text_at("metadata/General", "title");
  if (info.title.empty() && name != "__unnamed__") info.title = one_line(name);
  info.signal = text_at("metadata/Signal", "signal_type");
  info.dtype = file->dtype(data, context);

  const std::vector<int64_t> shape = file->shape(data, context);
  std::vector<HspyAxis> axes;
  for (size_t i = 0; i < shape.size(); ++i) axes.push_back(read_axis(*file, place, i, shape[i], context));
  // Files before version 2.1 say "spectrum" or "image" instead of marking axes.
  const bool old_image = text_at("metadata/Signal", "record_by") == "image";
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
  image.values = file->values(data, std::move(order), info.notes, context);
  image.metadata = [=] { return read_metadata(*file, place, context); };
  return image;
}

}  // namespace

std::vector<StoredImage> hyperspy_images(const std::shared_ptr<const HyperspyFile>& file,
                                         const std::string& path) {
  std::vector<StoredImage> images;
  const std::string experiments = "Experiments";
  if (!file->has_group(experiments, path)) return images;
  for (const std::string& name : file->members(experiments, path)) {
    const std::string experiment = experiments + "/" + name;
    if (!file->has_group(experiment, path) || !file->has_array(experiment + "/data", path)) continue;
    images.push_back(or_fault(one_line(name), [&] { return open_experiment(file, name, path); }));
  }
  return images;
}

}  // namespace eelsvae
