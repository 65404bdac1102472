#include "io/containers/hdf5.h"

#include <fstream>

#include "io/containers/hdf5_process.h"

namespace eelsvae::hdf5 {
namespace {

using nlohmann::json;

json ask(const char* what, const Object& object, const std::string& context) {
  return object.process().ask(json::array({what, object.path(), context}));
}

json ask(const char* what, const Object& object, const std::string& context, const json& argument) {
  return object.process().ask(json::array({what, object.path(), context, argument}));
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
  std::string start(4096, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(start.data(), static_cast<std::streamsize>(start.size()));
  start.resize(static_cast<size_t>(file.gcount()));
  if (!has_signature(start)) return std::nullopt;
  return open_file(path);
}

bool has_group(const Object& group, const std::string& name, const std::string& context) {
  return ask("has_group", group, context, name).get<bool>();
}

bool has_dataset(const Object& group, const std::string& name, const std::string& context) {
  return ask("has_dataset", group, context, name).get<bool>();
}

std::vector<std::string> members(const Object& group, const std::string& context) {
  return ask("members", group, context);
}

json attribute(const Object& object, const std::string& name, const std::string& context) {
  return ask("attribute", object, context, name);
}

json small_dataset(const Object& group, const std::string& name, const std::string& context) {
  return ask("small_dataset", group, context, name);
}

std::string byte_column(const Object& group, const std::string& name, const std::string& context) {
  return ask("byte_column", group, context, name);
}

json group_as_json(const Object& group, const std::vector<std::string>& skip, const std::string& context) {
  return ask("group_as_json", group, context, skip);
}

std::vector<int64_t> dataset_shape(const Object& dataset, const std::string& context) {
  return ask("shape", dataset, context);
}

std::string dataset_dtype(const Object& dataset, const std::string& context) {
  return ask("dtype", dataset, context);
}

std::vector<double> numbers(const Object& dataset, const std::string& context) {
  return ask("numbers", dataset, context);
}

}  // namespace eelsvae::hdf5
