#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "io/files/message_text.h"
#include "io/files/safetensors.h"
#include "io/formats/spectrum_image_file.h"
#include "io/run/jobs.h"

namespace eelsvae {
namespace {

using nlohmann::ordered_json;

std::string text_of(const ordered_json& value) {
  return value.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string named(const std::string& text, const char* otherwise) {
  return text.empty() ? otherwise : text;
}

const char* plural(size_t count) {
  return count == 1 ? "" : "s";
}

ordered_json as_json(const std::string& path, const std::vector<ImageInfo>& images) {
  ordered_json list = ordered_json::array();
  for (const ImageInfo& image : images) {
    ordered_json axes = ordered_json::array();
    for (const Axis& axis : image.axes)
      axes.push_back({{"name", axis.name},
                      {"size", axis.size},
                      {"offset", axis.offset},
                      {"scale", axis.scale},
                      {"units", axis.units}});
    list.push_back({{"title", image.title},
                    {"signal", image.signal},
                    {"kind", image.kind},
                    {"shape", image.shape},
                    {"dtype", image.dtype},
                    {"axes", axes},
                    {"notes", image.notes},
                    {"fault", image.fault}});
  }
  return {{"format", image_format_name(path)}, {"images", list}};
}

std::string as_text(const std::string& path, const std::vector<ImageInfo>& images) {
  std::string text = fmt::format("{}: {}, {} image{}\n", path, image_format_name(path), images.size(),
                                 plural(images.size()));
  for (size_t i = 0; i < images.size(); ++i) {
    const ImageInfo& image = images[i];
    text += fmt::format("\n{}  {}\n   {}{}{}", i, named(image.title, "(no title)"), image.signal,
                        image.signal.empty() ? "" : " ", image.kind);
    text += image.axes.empty() ? "\n" : fmt::format(" {}, {}\n", shape_text(image.shape), image.dtype);
    for (const std::string& note : image.notes) text += "   " + note + "\n";
    if (!image.fault.empty()) text += "   cannot be read: " + image.fault + "\n";
    if (image.axes.empty()) continue;
    text += fmt::format("   {:<16} {:>8} {:>12} {:>12} {:>12}  {}\n", "axis", "size", "first", "last", "step",
                        "units");
    for (const Axis& axis : image.axes)
      text += fmt::format("   {:<16} {:>8} {:>12.6g} {:>12.6g} {:>12.6g}  {}\n",
                          named(axis.name, "(no name)"), axis.size, axis.offset,
                          axis.value(static_cast<double>(std::max<int64_t>(axis.size - 1, 0))), axis.scale,
                          named(axis.units, "(none)"));
  }
  return text;
}

// Text of the metadata that is JSON, such as the configuration, as JSON.
ordered_json metadata_of(const SafetensorsFile& file) {
  ordered_json result = ordered_json::object();
  for (const auto& [key, text] : file.metadata()) {
    ordered_json value = ordered_json::parse(text, nullptr, false);
    result[key] = value.is_discarded() ? ordered_json(text) : std::move(value);
  }
  return result;
}

int64_t parameters(const SafetensorsFile& file) {
  int64_t count = 0;
  for (const std::string& name : file.names()) count += file.tensor(name).elements();
  return count;
}

ordered_json as_json(const SafetensorsFile& file) {
  ordered_json list = ordered_json::array();
  for (const std::string& name : file.names()) {
    const TensorView& tensor = file.tensor(name);
    list.push_back({{"name", name}, {"dtype", tensor.dtype}, {"shape", tensor.shape}});
  }
  return {{"tensors", list}, {"parameters", parameters(file)}, {"metadata", metadata_of(file)}};
}

std::string as_text(const SafetensorsFile& file) {
  const std::vector<std::string> names = file.names();
  size_t width = 6;
  for (const std::string& name : names) width = std::max(width, name.size());
  std::string text = fmt::format("{}: safetensors, {} tensor{}, {} numbers\n\n", file.path(), names.size(),
                                 plural(names.size()), parameters(file));
  text += fmt::format("   {:<{}} {:<8} {}\n", "tensor", width, "type", "shape");
  for (const std::string& name : names) {
    const TensorView& tensor = file.tensor(name);
    text +=
        fmt::format("   {:<{}} {:<8} {}\n", one_line(name), width, tensor.dtype, shape_text(tensor.shape));
  }
  return file.metadata().empty() ? text : text + "\nmetadata\n" + text_of(metadata_of(file));
}

}  // namespace

std::string contents_of(const std::string& path, bool json) {
  if (!std::filesystem::is_directory(path) && looks_like_safetensors(path)) {
    const SafetensorsFile file(path);
    return json ? text_of(as_json(file)) : as_text(file);
  }
  const std::vector<ImageInfo> images = list_images(path);
  return json ? text_of(as_json(path, images)) : as_text(path, images);
}

}  // namespace eelsvae
