#include "io/files/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "io/files/atomic_file.h"
#include "io/files/message_text.h"
#include "io/files/npy.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "files are written in the processor's byte order");

constexpr uint64_t largest_header = 100'000'000;  // bytes, as the format's own reader

struct Dtype {
  const char* name;
  int64_t size;
};
constexpr Dtype dtypes[] = {{"F64", 8}, {"F32", 4}, {"F16", 2},     {"BF16", 2},    {"I64", 8},
                            {"I32", 4}, {"I16", 2}, {"I8", 1},      {"U64", 8},     {"U32", 4},
                            {"U16", 2}, {"U8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"BOOL", 1}};

// Bytes per element, 0 if the type is unknown.
int64_t dtype_size(const std::string& name) {
  const auto found =
      std::find_if(std::begin(dtypes), std::end(dtypes), [&](const Dtype& d) { return name == d.name; });
  return found == std::end(dtypes) ? 0 : found->size;
}

// Bytes of a tensor, -1 if there are more than 64 bits can count.
int64_t tensor_bytes(int64_t element_size, const std::vector<int64_t>& shape) {
  int64_t bytes = element_size;
  for (const int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(bytes, size, &bytes)) return -1;
  }
  return bytes;
}

std::string quoted_text(const std::string& text) {
  return json(text.substr(0, 80)).dump(-1, ' ', true, json::error_handler_t::replace);
}

// A key twice in one object would hide a tensor.
json parse_header(std::string_view text, const std::string& path) {
  std::vector<std::set<std::string>> open_objects;
  std::string repeated;
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > 8) throw UserError(path + ": the header nests too deep");
    if (event == json::parse_event_t::object_start) open_objects.emplace_back();
    if (event == json::parse_event_t::object_end) open_objects.pop_back();
    if (event == json::parse_event_t::key && !open_objects.back().insert(parsed.get<std::string>()).second)
      repeated = parsed.get<std::string>();
    return true;
  };
  json header = json::parse(text, watch, false);
  if (!header.is_object()) throw UserError(path + ": the header is not a JSON object");
  if (!repeated.empty()) throw UserError(path + ": the header names " + quoted_text(repeated) + " twice");
  return header;
}

// content: eight bytes or more
uint64_t header_length(std::span<const std::byte> content) {
  uint64_t length = 0;
  std::memcpy(&length, content.data(), sizeof length);
  return length;
}

}  // namespace

void produce_safetensors(const ByteSink& sink, const std::vector<SafetensorsEntry>& entries,
                         const std::map<std::string, std::string>& metadata) {
  // Every tensor then starts at a multiple of its element's size, and readers can use it in place.
  std::vector<const SafetensorsEntry*> order;
  for (const SafetensorsEntry& entry : entries) order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(), [](const SafetensorsEntry* a, const SafetensorsEntry* b) {
    return dtype_size(a->dtype) > dtype_size(b->dtype);
  });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  int64_t end = 0;
  for (const SafetensorsEntry* entry : order) {
    const int64_t bytes = tensor_bytes(dtype_size(entry->dtype), entry->shape);
    expect(dtype_size(entry->dtype) > 0 && bytes >= 0, "a tensor to write has a known type and a shape");
    expect(!header.contains(entry->name), "tensors to write have different names");
    header[entry->name] = {
        {"dtype", entry->dtype}, {"shape", entry->shape}, {"data_offsets", {end, end + bytes}}};
    end += bytes;
  }
  std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  expect(length <= largest_header, "a safetensors header has at most 100 MB");

  sink(&length, sizeof length);
  sink(text.data(), text.size());
  for (const SafetensorsEntry* entry : order) {
    size_t left = static_cast<size_t>(tensor_bytes(dtype_size(entry->dtype), entry->shape));
    entry->produce([&](const void* bytes, size_t size) {
      expect(size <= left, "a tensor hands over no more bytes than it has");
      sink(bytes, size);
      left -= size;
    });
    expect(left == 0, "a tensor hands over all its bytes");
  }
}

std::vector<std::byte> safetensors_content(const std::vector<SafetensorsEntry>& entries,
                                           const std::map<std::string, std::string>& metadata) {
  constexpr size_t header = 1 << 16;  // about
  size_t expected = header;
  for (const SafetensorsEntry& entry : entries)
    expected += static_cast<size_t>(std::max<int64_t>(0, tensor_bytes(dtype_size(entry.dtype), entry.shape)));
  std::vector<std::byte> content;
  content.reserve(expected);
  produce_safetensors(
      [&](const void* bytes, size_t size) {
        const auto* first = static_cast<const std::byte*>(bytes);
        content.insert(content.end(), first, first + size);
      },
      entries, metadata);
  return content;
}

void write_safetensors(const std::string& path, const std::vector<SafetensorsEntry>& entries,
                       const std::map<std::string, std::string>& metadata) {
  AtomicFile file(path);
  produce_safetensors([&](const void* bytes, size_t size) { file.write(bytes, size); }, entries, metadata);
  file.commit();
}

int64_t TensorView::elements() const {
  return static_cast<int64_t>(bytes) / dtype_size(dtype);
}

SafetensorsFile::SafetensorsFile(const std::string& path) {
  auto file = std::make_unique<const MappedFile>(path);
  *this = SafetensorsFile(file->bytes(), path);
  file_ = std::move(file);
}

SafetensorsFile::SafetensorsFile(std::span<const std::byte> content, const std::string& path) : path_(path) {
  if (content.size() < sizeof(uint64_t))
    throw UserError(path + ": not a safetensors file, or cut off in its first bytes");
  const uint64_t length = header_length(content);
  if (length > largest_header)
    throw UserError(path + ": not a safetensors file: its header would have " + std::to_string(length) +
                    " bytes");
  if (length > content.size() - sizeof length)
    throw UserError(path + ": cut off: the header should have " + std::to_string(length) + " bytes, " +
                    std::to_string(content.size() - sizeof length) + " are there");
  const auto* text = reinterpret_cast<const char*>(content.data()) + sizeof length;
  const std::byte* data = content.data() + sizeof length + length;
  const uint64_t data_bytes = content.size() - sizeof length - length;

  const json header = parse_header({text, length}, path);
  for (const auto& [name, entry] : header.items()) {
    const std::string where = path + ": tensor " + quoted_text(name);
    if (name == "__metadata__") {
      const bool texts = entry.is_object() &&
                         std::all_of(entry.begin(), entry.end(), [](const json& v) { return v.is_string(); });
      if (!texts) throw UserError(path + ": __metadata__ must hold texts only");
      metadata_ = entry.get<std::map<std::string, std::string>>();
      continue;
    }
    const auto list_of_sizes = [](const json& list) {
      return list.is_array() && std::all_of(list.begin(), list.end(), [](const json& v) {
               return v.is_number_unsigned() && v.get<uint64_t>() <= uint64_t{INT64_MAX};
             });
    };
    if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") || !entry["dtype"].is_string() ||
        !entry.contains("shape") || !list_of_sizes(entry["shape"]) || !entry.contains("data_offsets") ||
        !list_of_sizes(entry["data_offsets"]) || entry["data_offsets"].size() != 2)
      throw UserError(where + " must have a dtype, a shape and two data_offsets");

    TensorView tensor{entry["dtype"].get<std::string>(), entry["shape"].get<std::vector<int64_t>>()};
    const auto begin = entry["data_offsets"][0].get<uint64_t>(),
               end = entry["data_offsets"][1].get<uint64_t>();
    const int64_t element_size = dtype_size(tensor.dtype);
    if (element_size == 0) throw UserError(where + " has the unknown dtype " + quoted_text(tensor.dtype));
    if (begin > end || end > data_bytes)
      throw UserError(where + " should lie at bytes " + std::to_string(begin) + " to " + std::to_string(end) +
                      ", the file has " + std::to_string(data_bytes) + " bytes of data");
    const int64_t bytes = tensor_bytes(element_size, tensor.shape);
    if (bytes < 0 || static_cast<uint64_t>(bytes) != end - begin)
      throw UserError(where + ": " + tensor.dtype + " " + shape_text(tensor.shape) + " does not fit its " +
                      std::to_string(end - begin) + " bytes");
    tensor.data = data + begin;
    tensor.bytes = end - begin;
    tensors_[name] = std::move(tensor);
  }

  // One after the other, without overlaps or bytes that belong to none.
  const std::byte* expected = data;
  for (const std::string& name : names()) {
    const TensorView& tensor = tensors_.at(name);
    if (tensor.data != expected)
      throw UserError(path + ": tensor " + quoted_text(name) +
                      (tensor.data < expected ? " overlaps another tensor" : " leaves a gap before it"));
    expected += tensor.bytes;
  }
  if (expected != data + data_bytes)
    throw UserError(path + ": " + std::to_string(data + data_bytes - expected) +
                    " bytes after the last tensor");
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const auto& entry : tensors_) names.push_back(entry.first);
  std::stable_sort(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
    const TensorView &left = tensors_.at(a), &right = tensors_.at(b);
    return left.data != right.data ? left.data < right.data : left.bytes < right.bytes;  // empty ones first
  });
  return names;
}

const TensorView& SafetensorsFile::tensor(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) throw UserError(path() + ": holds no tensor " + quoted_text(name));
  return found->second;
}

bool looks_like_safetensors(const std::string& path) {
  const MappedFile file(path);
  if (file.size() < sizeof(uint64_t) + 2 || header_length(file.bytes()) > largest_header) return false;
  return std::memcmp(file.data() + sizeof(uint64_t), "{\"", 2) == 0 ||
         std::memcmp(file.data() + sizeof(uint64_t), "{}", 2) == 0;
}

}  // namespace eelsvae
