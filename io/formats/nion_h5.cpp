#include "io/formats/nion_h5.h"

#include <filesystem>
#include <numeric>

#include "io/containers/hdf5.h"
#include "io/files/json_text.h"
#include "io/files/message_text.h"
#include "io/formats/nion.h"

namespace eelsvae {
namespace {

using hdf5::Object;
using nlohmann::json;

// Paths of the datasets that have properties.
std::vector<std::string> datasets(const Object& file, const std::string& path) {
  std::vector<std::string> candidates, found;
  if (hdf5::has_dataset(file, "data", path)) {
    candidates.push_back("data");
  } else if (hdf5::has_group(file, "data", path)) {
    const Object group = file.member("data");
    for (const std::string& name : hdf5::members(group, path)) {
      if (hdf5::has_dataset(group, name, path)) candidates.push_back("data/" + name);
    }
  }
  for (const std::string& name : candidates) {
    const Object dataset = file.member(name);
    if (hdf5::attribute(dataset, "properties", path).is_string()) found.push_back(name);
  }
  return found;
}

StoredImage open_item(const Object& file, const std::string& name, const std::vector<int64_t>& shape,
                      const std::string& path) {
  const std::string context = path + ": dataset '" + one_line(name) + "'";
  const Object dataset = file.member(name);
  const json properties = parse_json_object(
      hdf5::attribute(dataset, "properties", context).get<std::string>(), context + ", properties");
  StoredImage image;
  image.info = nion_image_info(properties, shape, hdf5::dataset_dtype(dataset, context), context);
  if (image.info.title.empty()) image.info.title = std::filesystem::path(path).stem().string();
  std::vector<size_t> order(shape.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (image.info.shape == shape) image.values = hdf5::dataset_values(file, name, order, context);
  image.metadata = [metadata = nion_metadata(properties)] { return metadata; };
  return image;
}

std::vector<StoredImage> open_nion(const std::string& path) {
  const hdf5::Object file = hdf5::open_file(path);
  std::vector<StoredImage> images;
  for (const std::string& name : datasets(file, path)) {
    const std::vector<int64_t> shape = hdf5::dataset_shape(file.member(name), path);
    if (shape == std::vector<int64_t>{0}) continue;  // an item without data
    images.push_back(or_fault(one_line(name), [&] { return open_item(file, name, shape, path); }));
  }
  return images;
}

bool recognises_nion(const std::string& path, std::string_view start) {
  return hdf5::has_signature(start) && !datasets(hdf5::open_file(path), path).empty();
}

}  // namespace

const ImageFormat nion_h5_format = {"Nion Swift", ".h5", recognises_nion, open_nion};

}  // namespace eelsvae
