#include "io/formats/gatan_tags.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <vector>

#include "io/files/message_text.h"
#include "io/formats/image_format.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using nlohmann::json;

constexpr uint64_t largest_value = 4096;             // numbers of an array that the tree takes
constexpr uint64_t most_values = uint64_t{1} << 22;  // numbers of all arrays in the tree
constexpr uint64_t most_tags = 1'000'000;
constexpr int deepest_group = 64;
constexpr int deepest_type = 8;

enum TagKind : uint8_t { end_of_file = 0, group_tag = 20, data_tag = 21 };
enum TypeCode : uint64_t { structure = 15, byte_string = 18, array = 20 };

// How a value is encoded: a number, or a structure, string or array of such.
struct TagType {
  uint64_t code = 0;
  uint64_t count = 1;          // elements of an array, bytes of a string
  std::vector<TagType> parts;  // the fields of a structure, or the element of an array
  uint64_t bytes = 0;          // of one such value
  uint64_t values = 1;         // numbers in it, or more; bounds the work of decoding it
};

uint64_t number_size(uint64_t code) {
  switch (code) {
    case 8:   // boolean
    case 9:   // signed byte
    case 10:  // byte
      return 1;
    case 2:  // int16
    case 4:  // uint16
      return 2;
    case 3:  // int32
    case 5:  // uint32
    case 6:  // float32
      return 4;
    case 7:   // float64
    case 11:  // int64
    case 12:  // uint64
      return 8;
    default:
      return 0;
  }
}

// Nothing if the units are no text: half a surrogate pair, or a control character other than white space.
std::optional<std::string> utf16_text(const std::vector<uint16_t>& units) {
  std::string text;
  for (size_t i = 0; i < units.size(); ++i) {
    uint32_t point = units[i];
    if (point < ' ' && point != '\t' && point != '\n' && point != '\r') return std::nullopt;
    if (point >= 0xd800 && point < 0xe000) {
      const bool pair =
          point < 0xdc00 && i + 1 < units.size() && units[i + 1] >= 0xdc00 && units[i + 1] < 0xe000;
      if (!pair) return std::nullopt;
      point = 0x10000 + ((point - 0xd800) << 10) + (units[++i] - 0xdc00u);
    }
    append_utf8(text, point);
  }
  return text;
}

// The data of an image have the path ImageList.*.ImageData.Data.
bool is_image_data(const std::vector<std::string>& path) {
  return path.size() == 4 && path[0] == "ImageList" && path[2] == "ImageData" && path[3] == "Data";
}

class TagParser {
 public:
  TagParser(std::span<const std::byte> content, const std::string& name) : content_(content), name_(name) {}

  GatanTags parse() {
    const uint64_t version = unsigned_at(4);
    if (version != 3 && version != 4) fail("DM version " + std::to_string(version) + ", 3 or 4 is needed");
    word_ = version == 4 ? 8 : 4;
    skip(word_);  // the size of the file
    result_.big_endian = unsigned_at(4) == 0;
    result_.tree = json::object();
    try {
      parse_group(result_.tree);
    } catch (const CutOff& cut) {
      result_.cut_off = cut.message;
    }
    return std::move(result_);
  }

 private:
  struct CutOff {
    std::string message;
  };

  std::string message(const std::string& what) const {
    std::string path = name_ + ": ";
    if (!path_.empty()) {
      std::string tag;
      for (const std::string& part : path_) tag += (tag.empty() ? "" : ".") + part;
      constexpr size_t longest = 120;
      if (tag.size() > longest) tag = "..." + tag.substr(tag.size() - longest);
      path += "tag " + tag + ", ";
    }
    return path + "byte " + std::to_string(at_) + ": " + what;
  }

  [[noreturn]] void fail(const std::string& what) const { throw UserError(message(what)); }

  uint64_t remaining() const { return content_.size() - at_; }

  void need(uint64_t bytes) const {
    if (bytes > remaining())
      fail("cut off: " + std::to_string(bytes) + " more bytes are needed, the file has " +
           std::to_string(content_.size()) + " bytes");
  }

  void skip(uint64_t bytes) {
    need(bytes);
    at_ += bytes;
  }

  // A big-endian number of the tree.
  uint64_t unsigned_at(uint64_t bytes) {
    need(bytes);
    uint64_t value = 0;
    for (uint64_t i = 0; i < bytes; ++i) value = value << 8 | static_cast<uint64_t>(content_[at_ + i]);
    at_ += bytes;
    return value;
  }

  std::string bytes_at(uint64_t bytes) {
    need(bytes);
    const std::string text(reinterpret_cast<const char*>(content_.data() + at_), bytes);
    at_ += bytes;
    return text;
  }

  void parse_group(json& group) {
    if (path_.size() > deepest_group) fail("groups nest deeper than " + std::to_string(deepest_group));
    skip(2);  // sorted, open
    const uint64_t tags = unsigned_at(word_);
    const uint64_t smallest_tag = word_ == 8 ? 11 : 3;  // kind, length of the name, DM4's length
    if (tags > remaining() / smallest_tag)
      fail("cut off: a group of " + std::to_string(tags) + " tags, but only " + std::to_string(remaining()) +
           " bytes follow");
    int groups = 0, values = 0;
    for (uint64_t i = 0; i < tags; ++i) {
      const uint64_t kind = unsigned_at(1);
      if (kind != group_tag && kind != data_tag)
        fail("a tag of kind " + std::to_string(kind) + ", 20 or 21 is needed");
      if (++tags_ > most_tags) fail("more than " + std::to_string(most_tags) + " tags");
      std::string name = one_line(bytes_at(unsigned_at(2)));
      if (name.empty())
        name = kind == group_tag ? "TagGroup" + std::to_string(groups++) : "Data" + std::to_string(values++);
      if (word_ == 8) skip(word_);  // the tag's length; what it holds says it too
      path_.push_back(name);
      if (kind == group_tag)
        parse_group(group[name] = json::object());
      else
        parse_data(group, name);
      path_.pop_back();
    }
  }

  void parse_data(json& group, const std::string& name) {
    if (bytes_at(4) != "%%%%") {
      at_ -= 4;
      fail("no '%%%%' before a value");
    }
    type_words_ = unsigned_at(word_);
    if (type_words_ > remaining() / word_)
      fail("cut off: a type of " + std::to_string(type_words_) + " words, but only " +
           std::to_string(remaining()) + " bytes follow");
    const TagType type = parse_type(0);
    if (type_words_ != 0) fail("a type with " + std::to_string(type_words_) + " words too many");
    if (type.code == array && (type.values > largest_value || is_image_data(path_))) {
      leave_in_file(type);
    } else {
      need(type.bytes);
      group[name] = decode(type);
    }
  }

  void leave_in_file(const TagType& type) {
    std::string path;
    for (const std::string& part : path_) path += (path.empty() ? "" : ".") + part;
    result_.arrays.insert_or_assign(path, TagArray{at_, type.bytes});
    if (type.bytes > remaining() && is_image_data(path_))
      throw CutOff{message("cut off: the image has " + std::to_string(type.bytes) +
                           " bytes, the file ends after " + std::to_string(remaining()))};
    skip(type.bytes);
  }

  uint64_t type_word() {
    if (type_words_ == 0) fail("a type that is cut short");
    --type_words_;
    return unsigned_at(word_);
  }

  TagType parse_type(int depth) {
    if (depth > deepest_type) fail("types nest deeper than " + std::to_string(deepest_type));
    TagType type;
    type.code = type_word();
    switch (type.code) {
      case byte_string:
        type.bytes = type.count = type.values = type_word();
        break;
      case structure: {
        type_word();  // length of its name, which is not there
        const uint64_t fields = type_word();
        if (fields > type_words_ / 2)
          fail("a structure of " + std::to_string(fields) + " fields is cut short");
        type.values = 0;
        for (uint64_t i = 0; i < fields; ++i) {
          type_word();  // length of the field's name
          type.parts.push_back(parse_type(depth + 1));
          add(type.bytes, type.parts.back().bytes);
          add(type.values, type.parts.back().values);
        }
        break;
      }
      case array:
        type.parts.push_back(parse_type(depth + 1));
        type.count = type_word();
        type.bytes = product(type.count, type.parts[0].bytes);
        type.values = product(type.count, std::max<uint64_t>(type.parts[0].values, 1));
        break;
      default:
        type.bytes = number_size(type.code);
        if (type.bytes == 0) fail("a value of unknown type " + std::to_string(type.code));
    }
    return type;
  }

  uint64_t product(uint64_t count, uint64_t each) const {
    uint64_t result;
    if (__builtin_mul_overflow(count, each, &result))
      fail("an array of " + std::to_string(count) + " elements cannot be");
    return result;
  }

  void add(uint64_t& sum, uint64_t part) const {
    if (__builtin_add_overflow(sum, part, &sum)) fail("a structure of 2^64 bytes or more");
  }

  template <class T>
  T number() {
    std::array<std::byte, sizeof(T)> bytes;
    std::memcpy(bytes.data(), content_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    if (result_.big_endian != (std::endian::native == std::endian::big))
      std::reverse(bytes.begin(), bytes.end());
    return std::bit_cast<T>(bytes);
  }

  // A value whose bytes are all there.
  json decode(const TagType& type) {
    switch (type.code) {
      case 2:
        return number<int16_t>();
      case 3:
        return number<int32_t>();
      case 4:
        return number<uint16_t>();
      case 5:
        return number<uint32_t>();
      case 6:
        return number<float>();
      case 7:
        return number<double>();
      case 8:
        return number<uint8_t>() != 0;
      case 9:
        return number<int8_t>();
      case 10:
        return number<uint8_t>();
      case 11:
        return number<int64_t>();
      case 12:
        return number<uint64_t>();
      case byte_string:
        return utf8_text(bytes_at(type.bytes));
      default:
        return decode_list(type);
    }
  }

  json decode_list(const TagType& type) {
    values_ += type.values;
    if (values_ > most_values) fail("more than " + std::to_string(most_values) + " numbers in small arrays");
    if (type.code == array && type.parts[0].code == 4) {
      std::vector<uint16_t> units(type.count);
      for (uint16_t& unit : units) unit = number<uint16_t>();
      const std::optional<std::string> text = utf16_text(units);
      return text ? json(*text) : json(units);
    }
    json list = json::array();
    if (type.code == array) {
      for (uint64_t i = 0; i < type.count; ++i) list.push_back(decode(type.parts[0]));
    } else {
      for (const TagType& field : type.parts) list.push_back(decode(field));
    }
    return list;
  }

  std::span<const std::byte> content_;
  const std::string& name_;
  GatanTags result_;
  uint64_t at_ = 0;
  uint64_t word_ = 4;               // bytes of a count
  uint64_t type_words_ = 0;         // left of the type that is parsed
  uint64_t tags_ = 0, values_ = 0;  // so far
  std::vector<std::string> path_;   // of the tag that is parsed
};

}  // namespace

bool is_gatan(std::span<const std::byte> start) {
  const auto number = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = at; i < at + 4; ++i) value = value << 8 | static_cast<uint32_t>(start[i]);
    return value;
  };
  if (start.size() < 16) return false;
  const uint32_t version = number(0);
  return (version == 3 && number(8) <= 1) || (version == 4 && number(12) <= 1);
}

GatanTags parse_gatan_tags(std::span<const std::byte> content, const std::string& name) {
  return TagParser(content, name).parse();
}

const json& tag_at(const json& tree, std::string_view path, char separator) {
  static const json none;
  const json* node = &tree;
  while (true) {
    const size_t end = path.find(separator);
    const auto member = node->is_object() ? node->find(std::string(path.substr(0, end))) : node->end();
    if (!node->is_object() || member == node->end()) return none;
    node = &*member;
    if (end == std::string_view::npos) return *node;
    path.remove_prefix(end + 1);
  }
}

}  // namespace eelsvae
