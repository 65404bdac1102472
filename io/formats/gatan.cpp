#include "io/formats/gatan.h"

#include <algorithm>
#include <utility>

#include "engine/stop_token.h"
#include "io/files/message_text.h"
#include "io/files/npy.h"
#include "io/formats/gatan_image.h"
#include "io/formats/gatan_tags.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using nlohmann::json;

// ImageData.Dimensions, the fastest first.
std::vector<int64_t> dimension_sizes(const json& image, const std::string& context) {
  const json& dimensions = tag_at(image, "ImageData.Dimensions");
  std::vector<int64_t> sizes;
  for (size_t d = 0; d < dimensions.size(); ++d) {
    const json& size = tag_at(dimensions, "Data" + std::to_string(d));
    if (!size.is_number_integer() || size.get<int64_t>() < 0)
      throw UserError(context + ".ImageData.Dimensions: " + (size.is_null() ? "no" : size.dump()) +
                      " as size of dimension " + std::to_string(d));
    sizes.push_back(size.get<int64_t>());
  }
  if (sizes.empty()) throw UserError(context + ": the tag ImageData.Dimensions is missing");
  return sizes;
}

// How the numbers lie, dimension 0 fastest.
StoredArray stored_array(const GatanImage& image, bool big_endian) {
  std::vector<size_t> order(image.dimensions.size());  // axes, the slowest first
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return image.dimensions[a] > image.dimensions[b]; });
  return StoredArray::dense(*image.type, big_endian, image.info.shape, order);
}

GatanMemoryImage memory_image(const GatanTags& tags, size_t place, uint64_t file_size,
                              const std::string& name) {
  const std::string tag = "ImageList.TagGroup" + std::to_string(place);
  const std::string context = name + ": tag " + tag;
  const json& image = gatan_image_tag(tags.tree, place);
  const GatanImage described = gatan_image(image, dimension_sizes(image, context), context);
  GatanMemoryImage result;
  result.info = described.info;
  if (result.info.dtype.empty()) throw UserError(context + ": the tag ImageData.DataType is missing");
  if (!described.type) return result;

  const int64_t elements = element_count(result.info.shape, element_size(*described.type));
  if (elements < 0)
    throw UserError(context + ".ImageData.Dimensions: an image " + shape_text(result.info.shape) +
                    " cannot be");
  result.array = stored_array(described, tags.big_endian);
  if (elements == 0) return result;
  const uint64_t needed = static_cast<uint64_t>(elements) * element_size(*described.type);
  const auto data = tags.arrays.find(tag + ".ImageData.Data");
  if (data == tags.arrays.end()) {
    result.info.fault =
        context +
        ": the tag ImageData.Data is missing; its numbers may lie in a file of their own beside it (.raw, "
        ".dat, "
        ".gtg): save it with them in DigitalMicrograph, or read that file through a .rpl (docs/formats.md)";
  } else if (data->second.bytes != needed) {
    result.info.fault = context + ".ImageData.Data has " + std::to_string(data->second.bytes) + " bytes, " +
                        shape_text(result.info.shape) + " " + result.info.dtype + " needs " +
                        std::to_string(needed);
  } else {
    result.offset = data->second.offset;
    if (needed > file_size - result.offset) result.info.fault = tags.cut_off;
  }
  return result;
}

std::vector<GatanMemoryImage> memory_images(const GatanTags& tags, const std::vector<size_t>& places,
                                            uint64_t file_size, const std::string& name) {
  std::vector<GatanMemoryImage> images;
  for (const size_t place : places) {
    // Where the file ends within an image, the tags behind it are gone, which may be needed to know it.
    const bool whole = !tag_at(gatan_image_tag(tags.tree, place), "ImageData.DataType").is_null() &&
                       !tag_at(gatan_image_tag(tags.tree, place), "ImageData.Dimensions").is_null();
    if (!whole && !tags.cut_off.empty()) throw UserError(tags.cut_off);
    images.push_back(memory_image(tags, place, file_size, name));
  }
  return images;
}

std::vector<StoredImage> open_gatan(const std::string& path) {
  const auto file = std::make_shared<const MappedFile>(path);
  const auto tags = std::make_shared<const GatanTags>(parse_gatan_tags(file->bytes(), path));
  const std::vector<size_t> places = gatan_images(tags->tree);
  std::vector<StoredImage> images;
  for (GatanMemoryImage& image : memory_images(*tags, places, file->size(), path)) {
    const size_t place = places[images.size()];
    std::shared_ptr<const ImageValues> values;
    if (image.array && image.info.fault.empty())
      values = mapped_values(file, image.offset, *image.array, path);
    images.push_back({image.info, std::move(values),
                      [=, info = image.info] { return gatan_metadata(tags->tree, place, info); }});
  }
  return images;
}

bool recognises_gatan(const std::string&, std::string_view start) {
  return is_gatan(std::as_bytes(std::span(start)));
}

}  // namespace

const ImageFormat gatan_format = {"Gatan DigitalMicrograph", ".dm3, .dm4", recognises_gatan, open_gatan};

std::vector<GatanMemoryImage> list_gatan_images(std::span<const std::byte> content, const std::string& name) {
  const GatanTags tags = parse_gatan_tags(content, name);
  return memory_images(tags, gatan_images(tags.tree), content.size(), name);
}

}  // namespace eelsvae
