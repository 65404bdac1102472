#include "io/reader/hdf5_objects.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae::hdf5 {
namespace {

using nlohmann::json;

constexpr int64_t largest_value = 4096;  // elements of an attribute or a dataset that is taken for metadata
constexpr int64_t longest_text = int64_t{16} << 20;
constexpr int64_t most_numbers = int64_t{1} << 20;
constexpr int deepest_group = 32;
constexpr int64_t most_entries = 100000;

// Reads strings, integers, floats or enumerations through `read`, H5Aread or H5Dread of one object.
std::optional<json> small_value(hid_t type, hid_t space, const std::function<herr_t(hid_t, void*)>& read,
                                const std::string& context) {
  const bool scalar = H5Sget_simple_extent_type(space) == H5S_SCALAR;
  const int rank = H5Sget_simple_extent_ndims(space);
  const hssize_t points = H5Sget_simple_extent_npoints(space);
  if (points < 0 || points > largest_value || rank > 1 || (!scalar && rank != 1)) return std::nullopt;
  const auto count = static_cast<size_t>(points);
  json values = json::array();

  const H5T_class_t type_class = H5Tget_class(type);
  if (type_class == H5T_STRING && check(H5Tis_variable_str(type), context)) {
    std::vector<char*> strings(count, nullptr);
    const Handle memory_type(check(H5Tcopy(type), context), H5Tclose);
    check(read(memory_type, strings.data()), context);
    for (const char* string : strings) values.push_back(string ? string : "");
    H5Dvlen_reclaim(memory_type, space, H5P_DEFAULT, strings.data());
  } else if (type_class == H5T_STRING) {
    const size_t size = H5Tget_size(type);
    if (size == 0 || size > 1 << 20 || count * size > 1 << 20) return std::nullopt;
    std::vector<char> characters(count * size);
    check(read(type, characters.data()), context);
    for (size_t i = 0; i < count; ++i) {
      std::string string(&characters[i * size], size);
      string.erase(std::min(string.find('\0'), size));
      if (H5Tget_strpad(type) == H5T_STR_SPACEPAD) string.erase(string.find_last_not_of(' ') + 1);
      values.push_back(string);
    }
  } else if (type_class == H5T_INTEGER && H5Tget_sign(type) == H5T_SGN_NONE) {
    std::vector<uint64_t> numbers(count);
    check(read(H5T_NATIVE_UINT64, numbers.data()), context);
    values = numbers;
  } else if (type_class == H5T_INTEGER) {
    std::vector<int64_t> numbers(count);
    check(read(H5T_NATIVE_INT64, numbers.data()), context);
    values = numbers;
  } else if (type_class == H5T_FLOAT) {
    std::vector<double> numbers(count);
    check(read(H5T_NATIVE_DOUBLE, numbers.data()), context);
    values = numbers;
  } else if (type_class == H5T_ENUM && H5Tget_size(type) <= sizeof(int64_t)) {
    std::vector<int64_t> numbers(count);
    const Handle base(check(H5Tget_super(type), context), H5Tclose);
    check(read(type, numbers.data()), context);
    check(H5Tconvert(base, H5T_NATIVE_INT64, count, numbers.data(), nullptr, H5P_DEFAULT), context);
    const bool boolean = is_boolean(type);
    for (const int64_t number : numbers) values.push_back(boolean ? json(number != 0) : json(number));
  } else {
    return std::nullopt;
  }
  return scalar ? values.at(0) : values;
}

std::optional<json> attribute_value(hid_t object, const std::string& name, const std::string& context) {
  const std::string where = context + ", attribute '" + name + "'";
  const Handle attribute(check(H5Aopen(object, name.c_str(), H5P_DEFAULT), where), H5Aclose);
  const Handle type(check(H5Aget_type(attribute), where), H5Tclose);
  const Handle space(check(H5Aget_space(attribute), where), H5Sclose);
  return small_value(
      type, space, [&](hid_t memory, void* out) { return H5Aread(attribute, memory, out); }, where);
}

std::optional<json> dataset_value(hid_t group, const std::string& name, const std::string& context) {
  const std::string where = context + ", dataset '" + name + "'";
  const Handle dataset = open_dataset(group, name, where);
  const Handle type(check(H5Dget_type(dataset), where), H5Tclose);
  const Handle space(check(H5Dget_space(dataset), where), H5Sclose);
  const auto read = [&](hid_t memory, void* out) {
    return H5Dread(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, out);
  };
  return small_value(type, space, read, where);
}

std::vector<std::string> attribute_names(hid_t object, const std::string& context) {
  std::vector<std::string> names;
  hsize_t position = 0;
  const auto add = [](hid_t, const char* name, const H5A_info_t*, void* list) -> herr_t {
    static_cast<std::vector<std::string>*>(list)->push_back(name);
    return 0;
  };
  check(H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, &position, add, &names), context);
  return names;
}

// Type of the object that a hard link leads to.
H5O_type_t object_type(hid_t parent, const std::string& name, const std::string& context) {
  H5O_info_t info;
  check(H5Oget_info_by_name(parent, name.c_str(), &info, H5P_DEFAULT), context);
  return info.type;
}

bool has_object(hid_t parent, const std::string& name, H5O_type_t type, const std::string& context) {
  if (check(H5Lexists(parent, name.c_str(), H5P_DEFAULT), context) == 0) return false;
  H5L_info_t link;
  check(H5Lget_info(parent, name.c_str(), &link, H5P_DEFAULT), context);
  return link.type == H5L_TYPE_HARD && object_type(parent, name, context) == type;
}

class GroupWalk {
 public:
  GroupWalk(const std::vector<std::string>& skip, const std::string& context)
      : skip_(skip), context_(context) {}

  json walk(hid_t group, int depth) {
    if (depth > deepest_group)
      throw UserError(context_ + ": groups nest deeper than " + std::to_string(deepest_group));
    json object = json::object();
    for (const std::string& name : attribute_names(group, context_)) {
      count_entry();
      if (auto value = attribute_value(group, name, context_)) object[name] = std::move(*value);
    }
    for (const std::string& name : members(group, context_)) {
      if (std::find(skip_.begin(), skip_.end(), name) != skip_.end()) continue;
      count_entry();
      const H5O_type_t type = object_type(group, name, context_);
      if (type == H5O_TYPE_GROUP) {
        object[name] = walk(open_group(group, name, context_), depth + 1);
      } else if (type == H5O_TYPE_DATASET) {
        if (auto value = dataset_value(group, name, context_)) object[name] = std::move(*value);
      }
    }
    return object;
  }

 private:
  void count_entry() {
    if (++entries_ > most_entries)
      throw UserError(context_ + ": more than " + std::to_string(most_entries) + " entries");
  }

  const std::vector<std::string>& skip_;
  const std::string& context_;
  int64_t entries_ = 0;
};

}  // namespace

Handle open_file(const std::string& path) {
  const std::string context = "cannot read " + path;
  const Handle access(check(H5Pcreate(H5P_FILE_ACCESS), context), H5Pclose);
  // Some network file systems have no locks; reading goes on without one there.
  check(H5Pset_file_locking(access, true, true), context);
  return Handle(check(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access), context), H5Fclose);
}

Handle open_group(hid_t parent, const std::string& name, const std::string& context) {
  return Handle(check(H5Gopen2(parent, name.c_str(), H5P_DEFAULT), context), H5Gclose);
}

Handle open_dataset(hid_t parent, const std::string& name, const std::string& context) {
  return Handle(check(H5Dopen2(parent, name.c_str(), H5P_DEFAULT), context), H5Dclose);
}

bool has_group(hid_t parent, const std::string& name, const std::string& context) {
  return has_object(parent, name, H5O_TYPE_GROUP, context);
}

bool has_dataset(hid_t parent, const std::string& name, const std::string& context) {
  return has_object(parent, name, H5O_TYPE_DATASET, context);
}

std::vector<std::string> members(hid_t group, const std::string& context) {
  std::vector<std::string> names;
  hsize_t position = 0;
  const auto add = [](hid_t, const char* name, const H5L_info_t* link, void* list) -> herr_t {
    if (link->type == H5L_TYPE_HARD) static_cast<std::vector<std::string>*>(list)->push_back(name);
    return 0;
  };
  check(H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, &position, add, &names), context);
  return names;
}

json attribute(hid_t object, const std::string& name, const std::string& context) {
  if (check(H5Aexists(object, name.c_str()), context) == 0) return nullptr;
  return attribute_value(object, name, context).value_or(nullptr);
}

json small_dataset(hid_t parent, const std::string& name, const std::string& context) {
  return dataset_value(parent, name, context).value_or(nullptr);
}

std::string byte_column(hid_t parent, const std::string& name, const std::string& context) {
  const std::string where = context + ", dataset '" + name + "'";
  const Handle dataset = open_dataset(parent, name, where);
  const std::vector<int64_t> shape = dataset_shape(dataset, where);
  if (shape.empty() || shape.size() > 2 || std::find(shape.begin(), shape.end(), 0) != shape.end() ||
      shape[0] > longest_text || dataset_dtype(dataset, where) != "uint8")
    throw UserError(where + ": a column of at most " + std::to_string(longest_text) + " bytes is needed");
  const hsize_t length = static_cast<hsize_t>(shape[0]);
  const hsize_t start[] = {0, 0}, count[] = {length, 1};
  const Handle file_space(check(H5Dget_space(dataset), where), H5Sclose);
  check(H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start, nullptr, count, nullptr), where);
  const Handle memory_space(check(H5Screate_simple(1, &length, nullptr), where), H5Sclose);
  std::string text(static_cast<size_t>(length), '\0');
  check(H5Dread(dataset, H5T_NATIVE_UINT8, memory_space, file_space, H5P_DEFAULT, text.data()), where);
  text.resize(std::min(text.find('\0'), text.size()));
  return text;
}

json group_as_json(hid_t group, const std::vector<std::string>& skip, const std::string& context) {
  return GroupWalk(skip, context).walk(group, 0);
}

std::vector<double> numbers(hid_t dataset, const std::string& context) {
  const std::vector<int64_t> shape = dataset_shape(dataset, context);
  if (shape.size() != 1 || shape[0] > most_numbers)
    throw UserError(context + ": the shape is " + shape_text(shape) + ", one dimension of at most " +
                    std::to_string(most_numbers) + " numbers is needed");
  std::vector<double> values(static_cast<size_t>(shape[0]));
  check(H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), context);
  return values;
}

std::vector<int64_t> dataset_shape(hid_t dataset, const std::string& context) {
  const Handle space(check(H5Dget_space(dataset), context), H5Sclose);
  std::vector<hsize_t> sizes(static_cast<size_t>(check(H5Sget_simple_extent_ndims(space), context)));
  check(H5Sget_simple_extent_dims(space, sizes.data(), nullptr), context);
  return {sizes.begin(), sizes.end()};
}

bool is_boolean(hid_t type) {
  return H5Tget_class(type) == H5T_ENUM && H5Tget_size(type) == 1 && H5Tget_nmembers(type) == 2 &&
         H5Tget_member_index(type, "TRUE") >= 0 && H5Tget_member_index(type, "FALSE") >= 0;
}

std::string dataset_dtype(hid_t dataset, const std::string& context) {
  const Handle type(check(H5Dget_type(dataset), context), H5Tclose);
  const std::string bits = std::to_string(8 * H5Tget_size(type));
  switch (H5Tget_class(type)) {
    case H5T_INTEGER:
      return (H5Tget_sign(type) == H5T_SGN_NONE ? "uint" : "int") + bits;
    case H5T_FLOAT:
      return "float" + bits;
    case H5T_ENUM:
      return is_boolean(type) ? "bool" : "enumeration";
    case H5T_STRING:
      return "text";
    case H5T_COMPOUND:
      return "compound";
    case H5T_VLEN:
      return "ragged";
    default:
      return "other";
  }
}

}  // namespace eelsvae::hdf5
