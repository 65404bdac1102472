#include "interface/caller_image.h"

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/image/excluded.h"
#include "interface/guard.h"
#include "io/files/message_text.h"
#include "io/files/stored_array.h"

namespace eelsvae {
namespace {

ElementType element_type(int32_t type) {
  switch (type) {
    case EELSVAE_INT8:
      return ElementType::int8;
    case EELSVAE_UINT8:
      return ElementType::uint8;
    case EELSVAE_INT16:
      return ElementType::int16;
    case EELSVAE_UINT16:
      return ElementType::uint16;
    case EELSVAE_INT32:
      return ElementType::int32;
    case EELSVAE_UINT32:
      return ElementType::uint32;
    case EELSVAE_INT64:
      return ElementType::int64;
    case EELSVAE_UINT64:
      return ElementType::uint64;
    case EELSVAE_FLOAT16:
      return ElementType::float16;
    case EELSVAE_FLOAT32:
      return ElementType::float32;
    case EELSVAE_FLOAT64:
      return ElementType::float64;
  }
  throw UserError("image: type is " + std::to_string(type) + "; give one of EELSVAE_INT8 to EELSVAE_FLOAT64");
}

// Strides in bytes, of C order where all that were given are 0. UserError where an array would reach further
// than memory can.
std::vector<int64_t> strides_of(const int64_t* given, const std::vector<int64_t>& shape, ElementType type,
                                const char* name) {
  std::vector<int64_t> strides(given, given + shape.size());
  bool dense = true;
  for (const int64_t stride : strides) dense &= stride == 0;
  if (dense) {
    int64_t stride = static_cast<int64_t>(element_size(type));
    for (size_t d = shape.size(); d-- > 0; stride *= shape[d]) strides[d] = stride;
  }
  int64_t reach = 0;
  for (size_t d = 0; d < shape.size(); ++d) {
    int64_t extent = 0;
    if (strides[d] == INT64_MIN || __builtin_mul_overflow(shape[d] - 1, std::abs(strides[d]), &extent) ||
        __builtin_add_overflow(reach, extent, &reach))
      throw UserError(std::string("image: ") + name + " " + shape_text(strides) + " and shape " +
                      shape_text(shape) + " reach further than memory can; strides are in bytes");
  }
  return strides;
}

}  // namespace

eelsvae_image no_image() {
  eelsvae_image image{};
  image.struct_size = sizeof image;
  image.dispersion = 1;
  return image;
}

ImageToRead image_of_caller(const eelsvae_image* given, const DataConfig& data) {
  const eelsvae_image image = fields_of(given, sizeof(eelsvae_image), no_image(), "image");
  if (image.reserved != 0)
    throw UserError("image: reserved is not 0; let eelsvae_image_init() set all fields first");
  StoredArray array;
  array.type = element_type(image.type);
  array.shape.assign(image.shape, image.shape + 3);
  for (const int64_t size : array.shape)
    if (size < 1)
      throw UserError("image: shape is " + shape_text(array.shape) + "; each of (y, x, energy) is 1 or more");
  if (element_count(array.shape, sizeof(double)) < 0)
    throw UserError("image: shape is " + shape_text(array.shape) + ", more elements than memory can hold");
  array.stride = strides_of(image.strides, array.shape, array.type, "strides");
  if (!image.data) throw UserError("image: data is NULL; give the address of its first element");
  if (!std::isfinite(image.energy_offset) || !std::isfinite(image.dispersion) || !(image.dispersion > 0))
    throw UserError("image: energy_offset and dispersion, in eV, must be finite, and dispersion above 0");

  SpectrumImage axes;
  axes.y = {"y", "", 0, 1, array.shape[0]};
  axes.x = {"x", "", 0, 1, array.shape[1]};
  axes.energy = {"Energy loss", "eV", image.energy_offset, image.dispersion, array.shape[2]};
  if (image.excluded || !data.exclude.empty()) axes.excluded.resize(static_cast<size_t>(axes.pixels()));
  if (image.excluded) {
    const std::vector<int64_t> pixels = {axes.y.size, axes.x.size};
    const std::vector<int64_t> strides =
        strides_of(image.excluded_strides, pixels, ElementType::uint8, "excluded_strides");
    for (int64_t y = 0; y < axes.y.size; ++y)
      for (int64_t x = 0; x < axes.x.size; ++x)
        if (image.excluded[y * strides[0] + x * strides[1]])
          axes.excluded[static_cast<size_t>(y * axes.x.size + x)] = by_request;
  }
  for (const std::array<int64_t, 4>& rectangle : data.exclude) exclude_rectangle(axes, rectangle);

  const auto* first = static_cast<const std::byte*>(image.data);
  return {std::move(axes), [first, array](const ImagePart& part, CountArray& counts) {
            const ArrayPart wanted{{part.y[0], part.x[0], part.energy.first},
                                   {part.y[1] - part.y[0], part.x[1] - part.x[0], part.energy.size()}};
            const PartOfArray there = part_of(array, wanted);
            counts.resize(static_cast<size_t>(wanted.size[0] * wanted.size[1] * wanted.size[2]));
            return convert_array(first + there.begin, there.array, dense_strides(wanted.size), counts.data());
          }};
}

void check_no_files(const Config& config) {
  if (config.data.exclude_path)
    throw UserError(
        "data.exclude_path: names a file, and the library reads no images; give the mask as `excluded` of "
        "the "
        "image");
  if (config.preprocess.align_path)
    throw UserError(
        "preprocess.align_path: names a file, and the library reads no images; align the image before, with "
        "eelsvae-convert, or by a peak of its own");
}

}  // namespace eelsvae
