// eelsvae-info: what is in a file, from its headers.

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "apps/command_line.h"
#include "io/files/message_text.h"
#include "io/files/npy.h"
#include "io/files/safetensors.h"
#include "io/formats/spectrum_image_file.h"

namespace {

using namespace eelsvae;
using nlohmann::ordered_json;

void print_json(const ordered_json& value) {
  std::printf("%s\n", value.dump(2, ' ', false, ordered_json::error_handler_t::replace).c_str());
}

ordered_json images_as_json(const std::vector<ImageInfo>& images) {
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
                    {"shape", image.shape},
                    {"dtype", image.dtype},
                    {"axes", axes}});
  }
  return {{"images", list}};
}

void print_images(const std::string& path, const std::vector<ImageInfo>& images) {
  std::printf("%s: %s, %zu image%s\n", path.c_str(), image_format_name(path).c_str(), images.size(),
              images.size() == 1 ? "" : "s");
  for (size_t i = 0; i < images.size(); ++i) {
    const ImageInfo& image = images[i];
    std::printf("\n%zu  %s\n   %s%s%s %s, %s\n", i, image.title.empty() ? "(no title)" : image.title.c_str(),
                image.signal.c_str(), image.signal.empty() ? "" : " ", image.kind.c_str(),
                shape_text(image.shape).c_str(), image.dtype.c_str());
    std::printf("   %-16s %8s %12s %12s %12s  %s\n", "axis", "size", "first", "last", "step", "units");
    for (const Axis& axis : image.axes) {
      std::printf("   %-16s %8lld %12.6g %12.6g %12.6g  %s\n",
                  axis.name.empty() ? "(no name)" : axis.name.c_str(), static_cast<long long>(axis.size),
                  axis.offset, axis.value(static_cast<double>(std::max<int64_t>(axis.size - 1, 0))),
                  axis.scale, axis.units.empty() ? "(none)" : axis.units.c_str());
    }
  }
}

// Text of the metadata that is JSON, such as the configuration, as JSON.
ordered_json metadata_as_json(const SafetensorsFile& file) {
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

ordered_json tensors_as_json(const SafetensorsFile& file) {
  ordered_json list = ordered_json::array();
  for (const std::string& name : file.names()) {
    const TensorView& tensor = file.tensor(name);
    list.push_back({{"name", name}, {"dtype", tensor.dtype}, {"shape", tensor.shape}});
  }
  return {{"tensors", list}, {"parameters", parameters(file)}, {"metadata", metadata_as_json(file)}};
}

void print_tensors(const SafetensorsFile& file) {
  const std::vector<std::string> names = file.names();
  std::printf("%s: safetensors, %zu tensor%s, %lld numbers\n\n", file.path().c_str(), names.size(),
              names.size() == 1 ? "" : "s", static_cast<long long>(parameters(file)));
  size_t width = 6;
  for (const std::string& name : names) width = std::max(width, name.size());
  std::printf("   %-*s %-8s %s\n", static_cast<int>(width), "tensor", "type", "shape");
  for (const std::string& name : names) {
    const TensorView& tensor = file.tensor(name);
    std::printf("   %-*s %-8s %s\n", static_cast<int>(width), name.c_str(), tensor.dtype.c_str(),
                shape_text(tensor.shape).c_str());
  }
  if (file.metadata().empty()) return;
  std::printf("\nmetadata\n");
  print_json(metadata_as_json(file));
}

}  // namespace

int main(int argc, char** argv) {
  CommandLine app(
      "Says what is in a file: images, axes, units and type; tensors of a model file. Reads headers only.",
      "eelsvae-info");
  app.footer("Example: eelsvae-info specimen.hspy");
  std::string path;
  bool as_json = false;
  app.add_option("FILE", path, "A spectrum image or a model.safetensors").required();
  app.add_flag("--json", as_json, "Print JSON");
  return app.run(argc, argv, [&] {
    if (looks_like_safetensors(path)) {
      const SafetensorsFile file(path);
      if (as_json)
        print_json(tensors_as_json(file));
      else
        print_tensors(file);
    } else {
      const std::vector<ImageInfo> images = list_images(path);
      if (as_json)
        print_json(images_as_json(images));
      else
        print_images(path, images);
    }
    return 0;
  });
}
