#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "io/formats/image_format.h"

namespace eelsvae {

// Gatan DigitalMicrograph's files. DM3 and DM4 (io/formats/gatan_tags.h) are read from the mapped file. DM5
// is the same tree of tags in HDF5 (https://www.gatan.com/dm5-documentation): groups, with attributes for the
// values. Dimensions are stored [x, y, E], the fastest first. Thumbnails are not listed.

extern const ImageFormat gatan_format;
extern const ImageFormat gatan_hdf5_format;

// An image of a DM3 or DM4 file in memory.
struct GatanMemoryImage {
  ImageInfo info;                    // with the fault, if the numbers cannot be read
  uint64_t offset = 0;               // of its first element
  std::optional<StoredArray> array;  // none if the elements are no numbers
};

// The images of a whole file; `name` is the file to name in a UserError.
std::vector<GatanMemoryImage> list_gatan_images(std::span<const std::byte> content, const std::string& name);

}  // namespace eelsvae
