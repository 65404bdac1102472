#include "io/formats/nion.h"

#include <utility>

#include "engine/image/units.h"
#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using nlohmann::json;

// The object that describes the array.
const json& description(const json& properties) {
  const auto sources = properties.find("data_sources");
  if (properties.contains("dimensional_calibrations") || sources == properties.end() ||
      !sources->is_array() || sources->empty() || !sources->front().is_object())
    return properties;
  return sources->front();
}

std::string text_of(const json& object, const char* key) {
  const auto value = object.find(key);
  return value != object.end() && value->is_string() ? one_line(value->get<std::string>()) : "";
}

int64_t count_of(const json& object, const char* key, int64_t otherwise, const std::string& context) {
  const auto value = object.find(key);
  if (value == object.end() || value->is_null()) return otherwise;
  if (!value->is_number_integer() || *value < 0 || *value > 16)
    throw UserError(context + ": " + key + " is not a number of dimensions");
  return value->get<int64_t>();
}

Axis axis_of(const json& calibrations, size_t dimension, int64_t size, const std::string& context) {
  Axis axis;
  axis.size = size;
  if (dimension >= calibrations.size()) return axis;
  const json& calibration = calibrations[dimension];
  if (!calibration.is_object()) return axis;
  for (const auto& [key, number] : {std::pair{"offset", &axis.offset}, {"scale", &axis.scale}}) {
    const auto value = calibration.find(key);
    if (value == calibration.end() || value->is_null()) continue;
    if (!value->is_number())
      throw UserError(context + ": calibration " + std::to_string(dimension) + ": " + key +
                      " is not a number");
    *number = value->get<double>();
  }
  axis.units = text_of(calibration, "units");
  return axis;
}

// The microscope's word for what its camera recorded, as in "eels".
std::string signal_type(const json& properties, const json& described) {
  for (const json* object : {&properties, &described}) {
    const auto metadata = object->find("metadata");
    if (metadata == object->end() || !metadata->is_object()) continue;
    const auto hardware = metadata->find("hardware_source");
    if (hardware != metadata->end() && hardware->is_object()) return text_of(*hardware, "signal_type");
  }
  return "";
}

void name_axes(std::vector<Axis>& axes, size_t sequence, size_t collection) {
  const auto name = [&](size_t begin, size_t end) {
    if (end - begin == 2) axes[begin].name = "y";
    if (end - begin == 2 || end - begin == 1) axes[end - 1].name = "x";
  };
  if (sequence) axes[0].name = "Sequence";
  name(sequence, sequence + collection);
  name(sequence + collection, axes.size());
  if (electronvolts(axes.back().units)) axes.back().name = "Energy loss";
}

}  // namespace

ImageInfo nion_image_info(const json& properties, std::vector<int64_t> shape, const std::string& dtype,
                          const std::string& context) {
  const json& described = description(properties);
  const bool sequence = described.value("is_sequence", json()) == true;
  // Files that do not say, of before 2016, hold spectrum images if they have three dimensions.
  const auto rank = static_cast<int64_t>(shape.size()) - sequence;
  const int64_t collection = count_of(described, "collection_dimension_count", rank == 3 ? 2 : 0, context);
  const int64_t datum = count_of(described, "datum_dimension_count", rank - collection, context);

  if (datum < 0)
    throw UserError(context + ": the properties describe a scan of " + std::to_string(collection) +
                    " dimensions, the array has " + std::to_string(shape.size()));
  const bool colour =
      dtype == "uint8" && rank == collection + datum + 1 && shape.back() >= 3 && shape.back() <= 4;
  if (colour) shape.pop_back();
  if (static_cast<int64_t>(shape.size()) != sequence + collection + datum || shape.empty())
    throw UserError(context + ": the properties describe " + std::to_string(sequence + collection + datum) +
                    " dimensions, the array has " + std::to_string(shape.size()));

  ImageInfo info;
  info.title = text_of(properties, "title");
  if (info.title.empty()) info.title = text_of(described, "title");
  info.dtype = dtype;
  json calibrations =
      described.value("dimensional_calibrations", described.value("spatial_calibrations", json()));
  if (!calibrations.is_array()) calibrations = json::array();
  for (size_t i = 0; i < shape.size(); ++i) info.axes.push_back(axis_of(calibrations, i, shape[i], context));
  name_axes(info.axes, sequence, static_cast<size_t>(collection));
  if (signal_type(properties, described) == "eels" || (datum == 1 && electronvolts(info.axes.back().units)))
    info.signal = "EELS";
  info.kind = colour ? "colour image"
                     : image_kind(static_cast<size_t>(sequence + collection), static_cast<size_t>(datum));
  info.shape = std::move(shape);
  return info;
}

json nion_metadata(const json& properties) {
  return {{"original_metadata", properties}};
}

json nion_properties(const std::string& text, const std::string& context) {
  // The parser keeps its own stack, but what it builds is copied and destroyed by recursion.
  const auto shallow = [&](int depth, json::parse_event_t, json&) {
    if (depth > 100) throw UserError(context + ": the properties nest deeper than 100");
    return true;
  };
  const json properties = json::parse(utf8_text(text), shallow, false);
  if (!properties.is_object()) throw UserError(context + ": the properties are not a JSON object");
  return properties;
}

}  // namespace eelsvae
