#include <algorithm>
#include <cctype>
#include <utility>

#include "engine/stop_token.h"
#include "io/containers/hdf5.h"
#include "io/formats/gatan.h"
#include "io/formats/gatan_image.h"
#include "io/formats/gatan_tags.h"

namespace eelsvae {
namespace {

using hdf5::Object;
using nlohmann::json;

// A spectrum kept as a line scan of one pixel.
class LoneSpectrum : public ImageValues {
 public:
  explicit LoneSpectrum(std::shared_ptr<const ImageValues> line_scan) : line_scan_(std::move(line_scan)) {}
  bool read(const ArrayPart& part, std::span<const int64_t> out_stride, float* out,
            const StopToken& stop) const override {
    return line_scan_->read({{0, part.first[0]}, {1, part.size[0]}}, std::vector<int64_t>{0, out_stride[0]},
                            out, stop);
  }

 private:
  std::shared_ptr<const ImageValues> line_scan_;
};

// DM5 calls unnamed tags "[0]", "[1]", ... and may keep a number as an array of one.
json as_gatan_tags(const json& value) {
  if (value.is_array() && value.size() == 1) return as_gatan_tags(value[0]);
  if (value.is_array()) {
    json list = json::array();
    for (const json& element : value) list.push_back(as_gatan_tags(element));
    return list;
  }
  if (!value.is_object()) return value;
  json tags = json::object();
  for (const auto& [key, member] : value.items()) {
    const bool unnamed =
        key.size() > 2 && key.front() == '[' && key.back() == ']' &&
        std::all_of(key.begin() + 1, key.end() - 1, [](unsigned char c) { return isdigit(c); });
    const char* kind = member.is_object() ? "TagGroup" : "Data";
    tags[unnamed ? kind + key.substr(1, key.size() - 2) : key] = as_gatan_tags(member);
  }
  return tags;
}

StoredImage stored_image(const Object& file, const std::string& path, std::shared_ptr<const json> tags,
                         size_t place) {
  const std::string dataset = "ImageList/[" + std::to_string(place) + "]/ImageData/Data";
  const std::string context = path + ": " + dataset;
  const Object data = file.member(dataset);
  std::vector<int64_t> sizes = hdf5::dataset_shape(data, context);
  std::reverse(sizes.begin(), sizes.end());  // HDF5 names the slowest first

  GatanImage image = gatan_image(gatan_image_tag(*tags, place), sizes, context);
  const bool numbers = image.type || image.info.dtype.empty();
  if (numbers) image.info.dtype = hdf5::dataset_dtype(data, context);
  std::vector<size_t> order;  // axes of the dataset
  for (const size_t dimension : image.dimensions) order.push_back(sizes.size() - 1 - dimension);
  const bool lone_spectrum = order.size() < sizes.size();
  if (lone_spectrum) order.insert(order.begin(), 1 - order[0]);
  std::shared_ptr<const ImageValues> values;
  if (numbers) values = hdf5::dataset_values(file, dataset, order, context);
  if (values && lone_spectrum) values = std::make_shared<LoneSpectrum>(std::move(values));
  return {image.info, std::move(values),
          [tags = std::move(tags), place, info = image.info] { return gatan_metadata(*tags, place, info); }};
}

std::vector<StoredImage> open_gatan_hdf5(const std::string& path) {
  const hdf5::Object file = hdf5::open_file(path);
  const Object root = file.member("/");
  const auto tags = std::make_shared<const json>(as_gatan_tags(hdf5::group_as_json(root, {"Data"}, path)));
  std::vector<StoredImage> images;
  for (const size_t place : gatan_images(*tags))
    images.push_back(or_fault("", [&] { return stored_image(file, path, tags, place); }));
  return images;
}

bool recognises_gatan_hdf5(const std::string& path, std::string_view start) {
  return start.starts_with("\x89HDF\r\n\x1a\n") && hdf5::has_group(hdf5::open_file(path), "ImageList", path);
}

}  // namespace

const ImageFormat gatan_hdf5_format = {"Gatan DigitalMicrograph HDF5", ".dm5", recognises_gatan_hdf5,
                                       open_gatan_hdf5};

}  // namespace eelsvae
