#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

namespace eelsvae {

// The tag tree of Gatan's DM3 and DM4 files. Gatan has not published it; the sources are
// https://www.er-c.org/cbb/info/dmformat/ and the files themselves. The tree is big-endian, the values in it
// follow the file's own flag. DM4 counts in 8 bytes where DM3 counts in 4, and states each tag's length.

// An array of a tag that stayed in the file.
struct TagArray {
  uint64_t offset = 0;  // of its first byte in the file
  uint64_t bytes = 0;
};

struct GatanTags {
  bool big_endian = false;  // the values
  // Groups are objects; tags without a name are called "TagGroup0", "TagGroup1", ... and "Data0", ... as
  // RosettaSciIO calls them. A structure or array is a list, an array of 16-bit numbers that can be UTF-16
  // is text.
  nlohmann::json tree;
  // What the tree leaves out, by path ("ImageList.TagGroup0.ImageData.Data"): the data of images, and arrays
  // of more than 4096 numbers.
  std::map<std::string, TagArray, std::less<>> arrays;
  // The message of a UserError if the file ends within the data of an image. The tree then ends there too.
  std::string cut_off;
};

// Whether a file that starts so is a DM3 or DM4 file.
bool is_gatan(std::span<const std::byte> start);

// Parses the whole content of a file; `name` is the file to name in a UserError. The header's file size is
// not looked at, it is often wrong.
GatanTags parse_gatan_tags(std::span<const std::byte> content, const std::string& name);

// The tag at a path of names with dots between them, null if there is none. `separator` for names with dots.
const nlohmann::json& tag_at(const nlohmann::json& tree, std::string_view path, char separator = '.');

}  // namespace eelsvae
