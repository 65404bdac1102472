#pragma once

// Internal to io/: reading folders of Zarr, versions 2 and 3 (https://zarr-specs.readthedocs.io). A folder in
// the tree is a group or an array, as the JSON file in it says; the chunks of an array are files below it.
// What the JSON says of sizes is held against the files before anything is taken for it. Links are followed
// as long as they do not lead out of the tree.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "io/containers/chunk_codec.h"
#include "io/files/element_type.h"
#include "io/files/mapped_file.h"
#include "io/files/stored_array.h"

namespace eelsvae::zarr {

// What an array's JSON file says.
struct Array {
  std::string name;  // its path in the tree
  std::vector<int64_t> shape;
  std::string dtype;                // "int16"; what the file calls it if it is none of ElementType
  std::optional<ElementType> type;  // nothing: not numbers
  bool big_endian = false;
  enum Texts { no_texts, utf8_texts, json_texts } texts = no_texts;  // of any length each

  std::vector<int64_t> chunk;  // its shape; chunks at the far edges are as large as the others
  std::vector<size_t> order;   // of a chunk's axes in its file, the slowest first
  float missing = 0;           // in chunks that have no file
  std::string key_prefix;      // of the names of chunks: "c" in "c/0/1"
  char key_separator = '/';

  // A chunk is checksummed, compressed, and checksummed again.
  int inner_checksums = 0, outer_checksums = 0;
  Compression compression = Compression::none;
  std::string unreadable;  // what else was done to the chunks, "" if nothing: "compressed by 'lz4'"
};

// A tree on the disk. Objects are named by their paths in it, "" being the root. Errors are UserErrors that
// begin with the place of the file that they are about.
class Tree {
 public:
  // UserError if the folder cannot be read.
  explicit Tree(const std::string& path);

  bool has_group(const std::string& name) const;
  bool has_array(const std::string& name) const;

  // Names of the groups and arrays in a group, sorted.
  std::vector<std::string> members(const std::string& group) const;

  // Of a group or an array: a JSON object whose text is readable().
  nlohmann::json attributes(const std::string& name) const;

  // The attributes, small arrays and groups below a group as a JSON object; arrays that small_array() has
  // nothing for are left out, and members named in `skip`, at every level. UserError if groups nest deeper
  // than 32 or there are more than 100,000 entries.
  nlohmann::json group_as_json(const std::string& group, const std::vector<std::string>& skip) const;

  Array array(const std::string& name) const;

  // A scalar, or a list of one dimension, of at most `most` numbers, booleans or texts; nothing if the array
  // is another, or packed in a way that is not read.
  std::optional<nlohmann::json> small_array(const Array& array, int64_t most) const;

  // Where an object or a file of it lies, for messages.
  std::string place(const std::string& name) const;

  // A file; null if there is none. UserError if it is a link to nothing or to a file out of the tree.
  std::unique_ptr<const MappedFile> file(const std::string& name) const;

  // Bytes of all the files below a folder, or as many as are more than `enough`.
  uint64_t bytes_below(const std::string& name, uint64_t enough) const;

  // Calls take() with the name of each file below a folder, from there: "c/0/1".
  void for_each_file_below(const std::string& name,
                           const std::function<void(const std::string&)>& take) const;

 private:
  struct Node;
  Node node(const std::string& name) const;
  std::optional<nlohmann::json> json_file(const std::string& name) const;
  struct Walk;
  void walk(const std::string& group, int depth, Walk& walk, nlohmann::json& object) const;

  std::string path_;            // as it was given
  std::filesystem::path root_;  // without links
};

// Whether a folder is a group or an array of Zarr.
bool is_tree(const std::string& path);

// The numbers of an array whose axis order[i] is the image's axis i, read when they are asked for. Null if
// they are not integers or floats. UserError if they are packed in a way that is not read, if they are so
// many that the chunks there cannot hold them, if chunks' files lie where the array has no chunks, and if
// none of those that are needed is there: at once, the last when they are read. notes: takes how many of the
// chunks have no file, if there are any.
std::shared_ptr<const ImageValues> array_values(std::shared_ptr<const Tree> tree, Array array,
                                                std::vector<size_t> order, std::vector<std::string>& notes);

}  // namespace eelsvae::zarr
