#include "io/containers/zarr.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <limits>
#include <set>
#include <system_error>

#include "io/files/json_text.h"
#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae::zarr {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t longest_json = size_t{64} << 20;
constexpr size_t most_axes = 32;
constexpr int deepest_group = 32;
constexpr int64_t most_entries = 100000;
constexpr int64_t most_padding = int64_t{1} << 30;  // bytes of a chunk that lie outside of the array
constexpr int64_t largest_value = 4096;             // elements of an array that is taken for metadata

std::string joined(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : folder + "/" + name;
}

// Sizes of axes, each at least `least`.
std::vector<int64_t> sizes(const json& list, int64_t least) {
  std::vector<int64_t> result;
  if (!list.is_array() || list.size() > most_axes)
    throw UserError("more than " + std::to_string(most_axes) + " axes, or none that can be read");
  for (const json& size : list) {
    const bool whole = size.is_number_integer() && size.get<int64_t>() >= least;
    if (!whole) throw UserError("an axis has the size " + size.dump());
    result.push_back(size.get<int64_t>());
  }
  return result;
}

// NumPy's: "<f4", "|b1", ">i2".
void read_numpy_type(Array& array, const json& stored) {
  array.dtype = stored.is_string() ? one_line(stored.get<std::string>()) : "compound";
  if (array.dtype == "|O") array.dtype = "object";
  if (array.dtype.size() < 3) return;
  const char order = array.dtype[0];
  for (const auto& [letter, name] :
       {std::pair{'b', "bool"}, {'i', "int"}, {'u', "uint"}, {'f', "float"}, {'c', "complex"}}) {
    int bytes = 0;
    const char* end = array.dtype.data() + array.dtype.size();
    if (array.dtype[1] != letter || std::from_chars(array.dtype.data() + 2, end, bytes).ptr != end ||
        bytes < 1 || bytes > 32)
      continue;
    array.dtype = letter == 'b' ? name : name + std::to_string(8 * bytes);
    array.type = element_type_named(array.dtype);
    array.big_endian = order == '>';
    return;
  }
}

// A number, or how JSON spells those that it lacks; version 3 may give a float's bits, "0x7fc00000".
float fill_value(const json& value, std::optional<ElementType> type) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value.get<float>();
  if (!value.is_string()) return 0;  // not defined
  const std::string text = value.get<std::string>();
  if (text == "NaN") return std::numeric_limits<float>::quiet_NaN();
  if (text == "Infinity") return std::numeric_limits<float>::infinity();
  if (text == "-Infinity") return -std::numeric_limits<float>::infinity();
  uint64_t bits = 0;
  const char* end = text.data() + text.size();
  if (type && text.starts_with("0x") && std::from_chars(text.data() + 2, end, bits, 16).ptr == end) {
    if (type == ElementType::float16) return half_to_float(static_cast<uint16_t>(bits));
    if (type == ElementType::float32) return std::bit_cast<float>(static_cast<uint32_t>(bits));
    if (type == ElementType::float64) return static_cast<float>(std::bit_cast<double>(bits));
  }
  if (type) throw UserError("the fill value is " + one_line(value.dump()));
  return 0;  // text
}

// By the names of numcodecs, which version 3 takes over with a prefix.
std::optional<Compression> compression_named(std::string name) {
  if (name.starts_with("numcodecs.")) name.erase(0, 10);
  if (name == "blosc") return Compression::blosc;
  if (name == "zstd") return Compression::zstd;
  if (name == "gzip") return Compression::gzip;
  if (name == "zlib") return Compression::deflate;
  return std::nullopt;
}

std::string in_quotes(const json& name) {
  return "'" + (name.is_string() ? one_line(name.get<std::string>()) : "?") + "'";
}

Array read_version_2(const json& metadata) {
  Array array;
  array.shape = sizes(metadata.at("shape"), 0);
  array.chunk = sizes(metadata.at("chunks"), 1);
  read_numpy_type(array, metadata.at("dtype"));
  array.missing = fill_value(metadata.value("fill_value", json()), array.type);
  for (size_t d = 0; d < array.chunk.size(); ++d) array.order.push_back(d);
  const std::string order = metadata.value("order", "C");
  if (order != "C" && order != "F") throw UserError("the order of a chunk's numbers is " + in_quotes(order));
  if (order == "F") std::reverse(array.order.begin(), array.order.end());
  array.key_separator = metadata.value("dimension_separator", ".") == "/" ? '/' : '.';
  const json filters = metadata.value("filters", json());
  const json filter = filters.is_array() && filters.size() == 1 ? filters[0].at("id") : json();
  if (array.dtype == "object" && filter == "vlen-utf8")
    array.texts = Array::utf8_texts;
  else if (array.dtype == "object" && filter == "json2")  // of HyperSpy 1.7
    array.texts = Array::json_texts;
  else if (filters.is_array() && !filters.empty())
    array.unreadable = "passed through the filter " + in_quotes(filters.back().at("id"));
  if (const json compressor = metadata.value("compressor", json()); !compressor.is_null()) {
    const auto known = compression_named(compressor.at("id").get<std::string>());
    array.compression = known.value_or(Compression::none);
    if (!known) array.unreadable = "compressed by " + in_quotes(compressor.at("id"));
  }
  return array;
}

// A chunk's axes are reordered by "transpose", made bytes by "bytes", and these packed by what follows.
void read_codecs(Array& array, const json& codecs) {
  for (size_t d = 0; d < array.chunk.size(); ++d) array.order.push_back(d);
  bool are_bytes = false, compressed = false;
  for (const json& codec : codecs) {
    const std::string name = (codec.is_string() ? codec : codec.at("name")).get<std::string>();
    const json configuration =
        codec.is_object() ? codec.value("configuration", json::object()) : json::object();
    const auto compression = compression_named(name);
    if (name == "transpose" && !are_bytes) {
      const std::vector<int64_t> axes = sizes(configuration.at("order"), 0);
      if (std::set(axes.begin(), axes.end()).size() != array.order.size() ||
          axes.size() != array.order.size() ||
          std::ranges::any_of(axes, [&](int64_t axis) { return axis >= static_cast<int64_t>(axes.size()); }))
        throw UserError("the codec 'transpose' names no order of the axes");
      const std::vector<size_t> before = array.order;
      for (size_t d = 0; d < axes.size(); ++d) array.order[d] = before[static_cast<size_t>(axes[d])];
    } else if (name == "bytes" && !are_bytes) {
      array.big_endian = configuration.value("endian", "little") == "big";
      are_bytes = true;
    } else if (name == "vlen-utf8" && !are_bytes) {
      array.texts = Array::utf8_texts;
      are_bytes = true;
    } else if (name == "crc32c" && are_bytes) {
      ++(compressed ? array.outer_checksums : array.inner_checksums);
    } else if (compression && are_bytes && !compressed) {
      array.compression = *compression;
      compressed = true;
    } else {
      array.unreadable = name == "sharding_indexed" ? "put together in shards (codec 'sharding_indexed')"
                                                    : "packed by the codec " + in_quotes(name);
      return;
    }
  }
  if (!are_bytes) throw UserError("no codec makes bytes of the chunks");
}

Array read_version_3(const json& metadata) {
  Array array;
  array.shape = sizes(metadata.at("shape"), 0);
  const json& grid = metadata.at("chunk_grid");
  if (grid.at("name") != "regular")
    throw UserError("the chunks lie in a grid of the kind " + in_quotes(grid.at("name")) +
                    ", a regular one is needed");
  array.chunk = sizes(grid.at("configuration").at("chunk_shape"), 1);
  const json& type = metadata.at("data_type");
  array.dtype =
      type.is_string() ? one_line(type.get<std::string>()) : one_line(type.value("name", "compound"));
  array.type = element_type_named(array.dtype);
  array.missing = fill_value(metadata.value("fill_value", json()), array.type);
  const json& keys = metadata.at("chunk_key_encoding");
  const bool by_default = keys.at("name") == "default";
  if (!by_default && keys.at("name") != "v2")
    throw UserError("the chunks' names are of the kind " + in_quotes(keys.at("name")));
  array.key_prefix = by_default ? "c" : "";
  const json configuration = keys.value("configuration", json::object());
  array.key_separator = configuration.value("separator", by_default ? "/" : ".") == "/" ? '/' : '.';
  read_codecs(array, metadata.at("codecs"));
  if (const json more = metadata.value("storage_transformers", json()); more.is_array() && !more.empty())
    array.unreadable = "put through a storage transformer";
  return array;
}

}  // namespace

struct Tree::Node {
  enum Kind { none, group, array } kind = none;
  int version = 0;
  json metadata;  // of version 3, and of arrays
};

Tree::Tree(const std::string& path) : path_(path) {
  while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
  std::error_code error;
  root_ = fs::canonical(path_, error);
  if (error) throw UserError("cannot read " + path_ + ": " + error.message());
}

std::string Tree::place(const std::string& name) const {
  return name.empty() ? path_ : joined(path_, one_line(name));
}

std::unique_ptr<const MappedFile> Tree::file(const std::string& name) const {
  std::error_code error;
  const fs::path at = fs::canonical(root_ / name, error);
  if (error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory) {
    std::error_code ignored;
    if (fs::is_symlink(fs::symlink_status(root_ / name, ignored)))
      throw UserError(place(name) + ": is a link to a file that is not there");
    return nullptr;
  }
  if (error) throw UserError("cannot read " + place(name) + ": " + error.message());
  if (std::mismatch(root_.begin(), root_.end(), at.begin(), at.end()).first != root_.end())
    throw UserError(place(name) +
                    ": is a link out of the folder; copy the folder with what it links to: cp -rL");
  try {
    return std::make_unique<const MappedFile>(at.string());
  } catch (const UserError& failure) {
    throw UserError(one_line(failure.what()));
  }
}

uint64_t Tree::bytes_below(const std::string& name, uint64_t enough) const {
  uint64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(root_ / name, error), end;
       !error && entry != end && bytes <= enough; entry.increment(error)) {
    std::error_code not_counted;
    const uintmax_t size = entry->is_regular_file(not_counted) ? entry->file_size(not_counted) : 0;
    if (!not_counted) bytes += size;
  }
  return bytes;
}

void Tree::for_each_file_below(const std::string& name,
                               const std::function<void(const std::string&)>& take) const {
  const fs::path folder = root_ / name;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    if (!entry->is_directory(ignored)) take(entry->path().lexically_relative(folder).string());
  }
}

std::optional<json> Tree::json_file(const std::string& name) const {
  const auto content = file(name);
  if (!content) return std::nullopt;
  if (content->size() > longest_json) throw UserError(place(name) + ": more than 64 MiB of JSON");
  return parse_json_object({reinterpret_cast<const char*>(content->data()), content->size()}, place(name));
}

Tree::Node Tree::node(const std::string& name) const {
  const auto version = [&](const json& metadata, int needed) {
    if (metadata.value("zarr_format", json()) != needed)
      throw UserError(place(name) + ": Zarr of version " + metadata.value("zarr_format", json()).dump() +
                      ", versions 2 and 3 are read");
    return needed;
  };
  if (auto metadata = json_file(joined(name, ".zarray")))
    return {Node::array, version(*metadata, 2), std::move(*metadata)};
  if (auto metadata = json_file(joined(name, ".zgroup")))
    return {Node::group, version(*metadata, 2), std::move(*metadata)};
  auto metadata = json_file(joined(name, "zarr.json"));
  if (!metadata) return {};
  const bool array = metadata->value("node_type", json()) == "array";
  return {array ? Node::array : Node::group, version(*metadata, 3), std::move(*metadata)};
}

bool Tree::has_group(const std::string& name) const {
  return node(name).kind == Node::group;
}

bool Tree::has_array(const std::string& name) const {
  return node(name).kind == Node::array;
}

std::vector<std::string> Tree::members(const std::string& group) const {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(root_ / group, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    if (!entry->is_directory(ignored)) continue;
    names.push_back(entry->path().filename().string());
    if (names.size() > most_entries)
      throw UserError(place(group) + ": more than " + std::to_string(most_entries) + " entries");
  }
  if (error) throw UserError("cannot read " + place(group) + ": " + error.message());
  std::erase_if(names, [&](const std::string& name) { return node(joined(group, name)).kind == Node::none; });
  std::sort(names.begin(), names.end());
  return names;
}

json Tree::attributes(const std::string& name) const {
  const Node found = node(name);
  json attributes = json::object();
  if (found.version == 2) {
    if (auto stored = json_file(joined(name, ".zattrs"))) attributes = std::move(*stored);
  } else if (found.version == 3) {
    attributes = found.metadata.value("attributes", json::object());
  }
  if (!attributes.is_object()) throw UserError(place(name) + ": the attributes are no JSON object");
  return readable(attributes);
}

struct Tree::Walk {
  const std::string& top;
  const std::vector<std::string>& skip;
  int64_t entries = 0;
};

void Tree::walk(const std::string& group, int depth, Walk& walk, json& object) const {
  if (depth > deepest_group)
    throw UserError(place(walk.top) + ": groups nest deeper than " + std::to_string(deepest_group));
  object = attributes(group);
  const std::vector<std::string> names = members(group);
  walk.entries += static_cast<int64_t>(object.size() + names.size());
  if (walk.entries > most_entries)
    throw UserError(place(walk.top) + ": more than " + std::to_string(most_entries) + " entries");
  for (const std::string& name : names) {
    if (std::find(walk.skip.begin(), walk.skip.end(), name) != walk.skip.end()) continue;
    const std::string member = joined(group, name);
    if (has_group(member)) {
      this->walk(member, depth + 1, walk, object[one_line(name)]);
    } else if (auto value = small_array(array(member), largest_value)) {
      object[one_line(name)] = std::move(*value);
    }
  }
}

json Tree::group_as_json(const std::string& group, const std::vector<std::string>& skip) const {
  json object;
  Walk all{group, skip};
  walk(group, 0, all, object);
  return object;
}

Array Tree::array(const std::string& name) const {
  const Node found = node(name);
  Array array;
  try {
    if (found.kind != Node::array) throw UserError("no array");
    array = found.version == 2 ? read_version_2(found.metadata) : read_version_3(found.metadata);
    if (array.chunk.size() != array.shape.size())
      throw UserError("the shape is " + shape_text(array.shape) + ", that of its chunks " +
                      shape_text(array.chunk));
    const size_t element = array.type ? element_size(*array.type) : 1;
    const int64_t elements = element_count(array.shape, std::max(element, sizeof(float)));
    const int64_t in_chunk = element_count(array.chunk, element);
    if (elements < 0 || in_chunk < 0) throw UserError("more elements than any memory holds");
    if (in_chunk > elements && (in_chunk - elements) > most_padding / static_cast<int64_t>(element))
      throw UserError("a chunk is more than 1 GiB larger than the array");
  } catch (const UserError& error) {
    throw UserError(place(name) + ": " + error.what());
  } catch (const json::exception&) {
    throw UserError(place(name) + ": its description is damaged, or of a later version of Zarr");
  }
  array.name = name;
  // Before 2.8 zarr-python wrote chunks into folders without saying so.
  if (found.version == 2 && !found.metadata.contains("dimension_separator")) {
    std::error_code ignored;
    for (const fs::directory_entry& entry : fs::directory_iterator(root_ / name, ignored))
      if (entry.is_directory(ignored)) array.key_separator = '/';
  }
  return array;
}

bool is_tree(const std::string& path) {
  return std::ranges::any_of(std::initializer_list<const char*>{".zgroup", ".zarray", "zarr.json"},
                             [&](const char* name) {
                               std::error_code ignored;
                               return fs::exists(fs::path(path) / name, ignored);
                             });
}

}  // namespace eelsvae::zarr
