#include "io/containers/hdf5.h"

#include <filesystem>
#include <fstream>
#include <system_error>

#include "io/containers/hdf5_process.h"
#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae::hdf5 {
namespace {

using nlohmann::json;

// An answer of another type is the work of a process whose memory was damaged by what it read.
template <class T, class... Arguments>
T ask(const char* what, const Object& object, const std::string& context, const Arguments&... arguments) {
  const json value = object.process().ask(json::array({what, object.path(), context, arguments...}));
  try {
    return value.get<T>();
  } catch (const json::exception&) {
    throw UserError(context + ": damaged");
  }
}

}  // namespace

bool has_signature(std::string_view start) {
  const std::string_view signature = "\x89HDF\r\n\x1a\n";
  bool found = start.starts_with(signature);
  for (size_t at = 512; at < start.size(); at *= 2) found |= start.substr(at).starts_with(signature);
  return found;
}

Object open_file(const std::string& path) {
  return {ReadingProcess::shared(path), "/"};
}

std::optional<Object> open_if_hdf5(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored))
    return std::nullopt;  // a pipe would wait for a writer
  std::string start(4096, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(start.data(), static_cast<std::streamsize>(start.size()));
  start.resize(static_cast<size_t>(file.gcount()));
  if (!has_signature(start)) return std::nullopt;
  return open_file(path);
}

StoredDataset stored_dataset(const Object& dataset, const std::string& context) {
  return ask<StoredDataset>("dataset", dataset, context);
}

bool has_group(const Object& group, const std::string& name, const std::string& context) {
  return ask<bool>("has_group", group, context, name);
}

bool has_dataset(const Object& group, const std::string& name, const std::string& context) {
  return ask<bool>("has_dataset", group, context, name);
}

std::vector<std::string> members(const Object& group, const std::string& context) {
  return ask<std::vector<std::string>>("members", group, context);
}

json attribute(const Object& object, const std::string& name, const std::string& context) {
  return readable(ask<json>("attribute", object, context, name));
}

json small_dataset(const Object& group, const std::string& name, const std::string& context) {
  return readable(ask<json>("small_dataset", group, context, name));
}

std::string byte_column(const Object& group, const std::string& name, const std::string& context) {
  return ask<std::string>("byte_column", group, context, name);
}

json group_as_json(const Object& group, const std::vector<std::string>& skip, const std::string& context) {
  return readable(ask<json>("group_as_json", group, context, skip));
}

std::vector<int64_t> dataset_shape(const Object& dataset, const std::string& context) {
  return ask<std::vector<int64_t>>("shape", dataset, context);
}

std::string dataset_dtype(const Object& dataset, const std::string& context) {
  return ask<std::string>("dtype", dataset, context);
}

std::vector<double> numbers(const Object& dataset, const std::string& context) {
  return ask<std::vector<double>>("numbers", dataset, context);
}

}  // namespace eelsvae::hdf5
