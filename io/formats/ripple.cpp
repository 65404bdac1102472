#include "io/formats/ripple.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <optional>
#include <utility>

#include "io/files/message_text.h"
#include "io/files/npy.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t header_limit = size_t{1} << 20;  // bytes of text

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return lower;
}

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r") + 1 - first);
}

// Calls visit(line number, key, value) for every line that holds one. A tab parts them; where there is none,
// blanks do. A semicolon begins a comment.
template <class Visit>
void for_each_line(std::string_view text, const Visit& visit) {
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    line = trimmed(line.substr(0, line.find(';')));
    if (line.empty()) continue;
    size_t gap = line.find('\t');
    if (gap == std::string_view::npos) gap = line.find(' ');
    const std::string_view value = gap == std::string_view::npos ? "" : trimmed(line.substr(gap));
    visit(number, lower_case(trimmed(line.substr(0, gap))), value);
  }
}

// The .rpl file's keys.
class Keys {
 public:
  Keys(std::string_view text, const std::string& path) : path_(path) {
    for_each_line(text, [&](size_t number, const std::string& key, std::string_view value) {
      const std::string shown = one_line(key.substr(0, 40));
      const std::string where = path_ + ", line " + std::to_string(number) + ": ";
      if (value.empty()) {  // HyperSpy writes every text that it has not been given
        if (!key.ends_with("-units") && !key.ends_with("-name") && !is_text(key))
          throw UserError(where + "'" + shown + "' has no value; 'key', a tab and a value are needed");
      }
      if (!values_.emplace(key, value).second) throw UserError(where + "'" + shown + "' is given twice");
    });
    values_.erase("key");  // the customary heading "key value"
  }

  bool has(const std::string& key) const { return values_.contains(key); }

  std::string text(const std::string& key) const {
    const auto found = values_.find(key);
    if (found == values_.end() || found->second == "None" || found->second == "<undefined>") return "";
    return one_line(found->second);
  }

  // Of a key that must be there.
  int64_t whole(const std::string& key, int64_t low) const {
    const std::string& value = required(key);
    int64_t number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size() || number < low)
      fail(key, "a whole number from " + std::to_string(low) + " on");
    return number;
  }

  std::string choice(const std::string& key, std::initializer_list<const char*> choices) const {
    const std::string value = lower_case(required(key));
    std::string wanted;
    for (const char* known : choices) {
      if (value == known) return value;
      wanted += (wanted.empty() ? "" : ", ") + std::string(known);
    }
    fail(key, "one of " + wanted);
  }

  std::optional<double> number(const std::string& key) const {
    const std::string value = text(key);
    if (value.empty()) return std::nullopt;
    double number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size()) fail(key, "a number");
    return number;
  }

  json as_json() const {
    json result = json::object();
    for (const auto& [key, value] : values_) result[key] = value;
    return result;
  }

  [[noreturn]] void fail(const std::string& key, const std::string& wanted) const {
    throw UserError(path_ + ": " + key + " must be " + wanted + ", not '" +
                    one_line(required(key).substr(0, 60)) + "'");
  }

 private:
  static bool is_text(const std::string& key) {
    return key == "title" || key == "date" || key == "time" || key == "signal";
  }

  const std::string& required(const std::string& key) const {
    const auto found = values_.find(key);
    if (found == values_.end()) throw UserError(path_ + ": " + key + " is missing");
    return found->second;
  }

  std::string path_;
  std::map<std::string, std::string> values_;
};

ElementType element_type(const Keys& keys) {
  const std::string kind = keys.choice("data-type", {"signed", "unsigned", "float"});
  const std::string length = keys.choice("data-length", {"1", "2", "4", "8"});
  const std::string bits = std::to_string(8 * std::stoi(length));
  const std::string name = (kind == "signed" ? "int" : kind == "unsigned" ? "uint" : "float") + bits;
  if (kind == "float" && length < std::string("4")) keys.fail("data-length", "4 or 8 for floats");
  return *element_type_named(name);
}

Axis axis(const Keys& keys, const std::string& key, const std::string& name, int64_t size) {
  Axis axis;
  const std::string given = keys.text(key + "-name");
  axis.name = given.empty() ? name : given;
  axis.units = keys.text(key + "-units");
  axis.offset = keys.number(key + "-origin").value_or(0);
  const std::optional<double> scale = keys.number(key + "-scale");
  axis.scale = scale.value_or(1);
  axis.size = size;
  // The format's own key; HyperSpy rounds it to whole eV.
  if (const auto width = keys.number("ev-per-chan"); key == "depth" && width && !scale) {
    axis.scale = *width;
    axis.units = "eV";
  }
  return axis;
}

struct Layout {
  ImageInfo info;
  StoredArray array;
  int64_t offset = 0;  // bytes
};

Layout layout(const Keys& keys, const std::string& path) {
  const int64_t height = keys.whole("height", 1), width = keys.whole("width", 1),
                depth = keys.whole("depth", 1);
  const ElementType type = element_type(keys);
  const std::string order = keys.choice("byte-order", {"big-endian", "little-endian", "dont-care"});
  const std::string record = keys.choice("record-by", {"vector", "image", "dont-care"});
  if (record == "dont-care" && depth > 1 && (height > 1 || width > 1))
    keys.fail("record-by", "vector or image where depth is not 1");
  const std::vector<int64_t> shape = {height, width, depth};
  if (element_count(shape, element_size(type)) < 0)
    throw UserError(path + ": height, width and depth " + shape_text(shape) + " are too large");
  const StoredArray whole =
      StoredArray::dense(type, order == "big-endian", shape,
                         record == "image" ? std::vector<size_t>{2, 0, 1} : std::vector<size_t>{0, 1, 2});

  Layout result;
  result.offset = keys.has("offset") ? keys.whole("offset", 0) : 0;
  result.array = {type, whole.big_endian, {}, {}};
  const char* names[] = {"y", "x", "Energy loss"};
  const char* prefixes[] = {"height", "width", "depth"};
  for (size_t i = 0; i < 3; ++i) {
    if (shape[i] == 1) continue;
    result.array.shape.push_back(shape[i]);
    result.array.stride.push_back(whole.stride[i]);
    result.info.axes.push_back(axis(keys, prefixes[i], names[i], shape[i]));
  }
  const size_t axes = result.info.axes.size();
  const size_t signal_axes = depth > 1 ? 1 : axes;
  result.info.kind = image_kind(axes - signal_axes, signal_axes);
  result.info.shape = result.array.shape;
  result.info.dtype = element_name(type);
  result.info.signal = keys.text("signal");
  return result;
}

// As HyperSpy keeps them.
json metadata(const Keys& keys) {
  json result = {
      {"metadata", {{"General", json::object()}, {"Signal", {{"signal_type", keys.text("signal")}}}}},
      {"original_metadata", keys.as_json()}};
  for (const char* key : {"title", "date", "time"}) {
    if (!keys.text(key).empty()) result["metadata"]["General"][key] = keys.text(key);
  }
  const std::pair<const char*, const char*> numbers[] = {
      {"beam-energy", "/beam_energy"},
      {"convergence-angle", "/convergence_angle"},
      {"tilt-stage", "/Stage/tilt_alpha"},
      {"collection-angle", "/Detector/EELS/collection_angle"}};
  for (const auto& [key, place] : numbers) {
    if (const auto number = keys.number(key))
      result[json::json_pointer("/metadata/Acquisition_instrument/TEM" + std::string(place))] = *number;
  }
  return result;
}

std::string extension(const std::string& path) {
  return lower_case(fs::path(path).extension().string());
}

// The file of the same name with another extension, however that is spelt.
std::optional<std::string> beside(const std::string& path, std::initializer_list<const char*> extensions) {
  for (const char* spelling : extensions) {
    const fs::path other = fs::path(path).replace_extension(spelling);
    std::error_code ignored;
    if (fs::exists(other, ignored)) return other.string();
  }
  return std::nullopt;
}

// Four of the format's keys in the first bytes, or a .raw file: numbers without a sign of their own.
bool recognises_ripple(const std::string& path, std::string_view start) {
  if (start.find('\0') == std::string_view::npos) {
    int found = 0;
    for_each_line(start, [&](size_t, const std::string& key, std::string_view) {
      found += key == "width" || key == "height" || key == "depth" || key == "data-length" ||
               key == "data-type" || key == "byte-order" || key == "record-by";
    });
    if (found >= 4) return true;
  }
  return extension(path) == ".raw";
}

// The header and the numbers, whichever of them is named.
std::vector<std::string> files_of_ripple(const std::string& path) {
  std::string header_path = path;
  if (extension(path) == ".raw") {
    const std::optional<std::string> found = beside(path, {".rpl", ".RPL", ".Rpl"});
    if (!found)
      throw UserError(path + ": only numbers; the .rpl file that says how they lie is missing beside it");
    header_path = *found;
  }
  const std::optional<std::string> raw_path = beside(header_path, {".raw", ".RAW", ".Raw"});
  if (!raw_path) throw UserError(header_path + ": the .raw file with the numbers is missing beside it");
  return {header_path, *raw_path};
}

std::vector<StoredImage> open_ripple(const std::string& path) {
  const std::vector<std::string> files = files_of_ripple(path);
  const std::string &header_path = files[0], &raw_path = files[1];
  const MappedFile text(header_path);
  if (text.size() > header_limit)
    throw UserError(header_path + ": has " + std::to_string(text.size()) +
                    " bytes, a .rpl file is a short text");
  const auto keys = std::make_shared<const Keys>(
      std::string_view(reinterpret_cast<const char*>(text.data()), text.size()), header_path);
  Layout found = layout(*keys, header_path);
  found.info.title = keys->text("title");
  if (found.info.title.empty()) found.info.title = one_line(fs::path(path).stem().string());

  const auto raw = std::make_shared<const MappedFile>(raw_path);
  const auto offset = static_cast<uint64_t>(found.offset);
  const size_t size = element_size(found.array.type);
  const uint64_t bytes = static_cast<uint64_t>(element_count(found.array.shape, size)) * size;
  if (raw->size() < offset || raw->size() - offset != bytes)
    throw UserError(raw_path + ": " + (raw->size() < offset + bytes ? "cut off: " : "") +
                    shape_text(found.array.shape) + " of " + found.info.dtype + " and an offset of " +
                    std::to_string(offset) + " need " + std::to_string(offset + bytes) +
                    " bytes, the file has " + std::to_string(raw->size()));
  auto values = mapped_values(raw, offset, std::move(found.array), raw_path);
  return {{std::move(found.info), std::move(values), [keys] { return metadata(*keys); }}};
}

}  // namespace

const ImageFormat ripple_format = {"Ripple", ".rpl", recognises_ripple, open_ripple, files_of_ripple};

}  // namespace eelsvae
