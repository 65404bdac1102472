#include "io/formats/npy_image.h"

#include <filesystem>
#include <utility>

#include "kernels/error.h"

namespace eelsvae {
namespace {

Axis uncalibrated(const std::string& name, int64_t size) {
  Axis axis;
  axis.name = name;
  axis.size = size;
  return axis;
}

bool recognises_npy(const std::string&, std::string_view start) {
  return start.starts_with("\x93NUMPY");
}

std::vector<StoredImage> open_npy(const std::string& path) {
  const auto file = std::make_shared<const MappedFile>(path);
  const NpyHeader header = parse_npy_header(file->bytes(), file->size(), path);
  return {{array_info(std::filesystem::path(path).stem().string(), header),
           mapped_values(file, header.data_offset, stored_array(header), path),
           [] { return nlohmann::json::object(); }}};
}

}  // namespace

ImageInfo array_info(const std::string& title, const NpyHeader& header) {
  ImageInfo info;
  info.title = title;
  info.shape = header.shape;
  info.dtype = element_name(header.type);
  if (header.shape.size() == 3) {
    info.kind = image_kind(2, 1);
    info.axes = {uncalibrated("y", header.shape[0]), uncalibrated("x", header.shape[1]),
                 uncalibrated("Energy loss", header.shape[2])};
  } else if (header.shape.size() == 2 && header.type != ElementType::boolean) {
    info.kind = image_kind(1, 1);
    info.axes = {uncalibrated("x", header.shape[0]), uncalibrated("Energy loss", header.shape[1])};
  } else {
    info.kind = "array";
    for (size_t i = 0; i < header.shape.size(); ++i)
      info.axes.push_back(uncalibrated("axis-" + std::to_string(i), header.shape[i]));
  }
  return info;
}

const ImageFormat npy_format = {"NumPy", ".npy", recognises_npy, open_npy};

}  // namespace eelsvae
