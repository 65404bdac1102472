#include "io/npy_image.h"

#include <filesystem>
#include <utility>

#include "io/npy.h"
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

std::vector<ImageInfo> list_npy(const std::string& path) {
  const NpyHeader header = read_npy_header(path);
  ImageInfo info;
  info.title = std::filesystem::path(path).stem().string();
  info.shape = header.shape;
  info.dtype = npy_type_name(header.type);
  if (header.shape.size() == 3) {
    info.kind = image_kind(2, 1);
    info.axes = {uncalibrated("y", header.shape[0]), uncalibrated("x", header.shape[1]),
                 uncalibrated("Energy loss", header.shape[2])};
  } else {
    info.kind = "array";
    for (size_t i = 0; i < header.shape.size(); ++i)
      info.axes.push_back(uncalibrated("axis-" + std::to_string(i), header.shape[i]));
  }
  return {info};
}

SpectrumImage read_npy_image(const std::string& path, size_t) {
  ImageInfo info = list_npy(path)[0];
  NpyArray array = read_npy(path);
  if (array.shape.size() != 3 || array.shape != info.shape)
    throw UserError(path + ": changed while it was read");
  SpectrumImage image;
  image.title = std::move(info.title);
  image.y = std::move(info.axes[0]);
  image.x = std::move(info.axes[1]);
  image.energy = std::move(info.axes[2]);
  image.counts.assign(array.values.begin(), array.values.end());
  return image;
}

}  // namespace

const ImageFormat npy_format = {"NumPy", ".npy", recognises_npy, list_npy, read_npy_image};

}  // namespace eelsvae
