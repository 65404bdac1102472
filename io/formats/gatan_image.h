#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "io/formats/image_format.h"

namespace eelsvae {

// Internal to io/: what Gatan's tags say of an image, for DM3, DM4 and DM5. `tags` is the tree of the whole
// file in the form of GatanTags::tree.

struct GatanImage {
  ImageInfo info;  // dtype is empty if the tag ImageData.DataType is missing
  // Gatan's number of the dimension that each axis shows; dimension 0 runs fastest in the file. One of size
  // 1 is not shown where it makes a spectrum a line scan.
  std::vector<size_t> dimensions;
  std::optional<ElementType> type;  // none if the elements are no numbers
};

// The image's places in ImageList. Thumbnails, which the tag Thumbnails names, are left out.
std::vector<size_t> gatan_images(const nlohmann::json& tags);

// The tag ImageList.TagGroup<place>.
const nlohmann::json& gatan_image_tag(const nlohmann::json& tags, size_t place);

// `sizes`: of the dimensions, the fastest first. `context` begins the messages of UserErrors.
GatanImage gatan_image(const nlohmann::json& image, const std::vector<int64_t>& sizes,
                       const std::string& context);

// In the form of StoredImage::metadata. The tree of original_metadata holds this image only, as
// ImageList.TagGroup0, as RosettaSciIO has it.
nlohmann::json gatan_metadata(const nlohmann::json& tags, size_t place, const ImageInfo& info);

// The reverse for a file that is written: the tag ImageTags for metadata of any origin.
nlohmann::json gatan_image_tags(const nlohmann::json& metadata);

}  // namespace eelsvae
