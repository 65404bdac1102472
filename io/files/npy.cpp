#include "io/files/npy.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <string_view>

#include "io/files/atomic_file.h"
#include "io/files/mapped_file.h"
#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

static_assert(std::endian::native == std::endian::little, "files are written in the processor's byte order");

constexpr std::string_view magic("\x93NUMPY", 6);
constexpr size_t max_dimensions = 32;  // as NumPy 1

struct TypeEntry {
  const char* code;  // without byte order
  ElementType type;
};

constexpr TypeEntry types[] = {
    {"b1", ElementType::boolean}, {"i1", ElementType::int8},    {"u1", ElementType::uint8},
    {"i2", ElementType::int16},   {"u2", ElementType::uint16},  {"i4", ElementType::int32},
    {"u4", ElementType::uint32},  {"i8", ElementType::int64},   {"u8", ElementType::uint64},
    {"f2", ElementType::float16}, {"f4", ElementType::float32}, {"f8", ElementType::float64},
};

// Parser of the header's text, a Python dictionary literal such as
// {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  void parse(NpyHeader& header) {
    bool descr = false, order = false, shape = false;
    require('{');
    while (!accept('}')) {
      const std::string key = string();
      require(':');
      if (key == "descr" && !descr) {
        descr = true;
        parse_descr(header);
      } else if (key == "fortran_order" && !order) {
        order = true;
        header.fortran_order = boolean();
      } else if (key == "shape" && !shape) {
        shape = true;
        header.shape = tuple();
      } else {
        fail("key '" + key + "' is unknown or given twice");
      }
      if (!accept(',')) {
        require('}');
        break;
      }
    }
    skip_space();
    if (!text_.empty()) fail("text after the closing brace");
    if (!descr || !order || !shape) fail("'descr', 'fortran_order' or 'shape' is missing");
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw UserError(name_ + ": damaged .npy header: " + what);
  }

  void skip_space() {
    const size_t length = text_.find_first_not_of(" \t\r\n");
    text_.remove_prefix(std::min(length, text_.size()));
  }
  bool accept(char c) {
    skip_space();
    if (text_.empty() || text_[0] != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  bool accept(std::string_view word) {
    skip_space();
    if (text_.substr(0, word.size()) != word) return false;
    text_.remove_prefix(word.size());
    return true;
  }
  void require(char c) {
    if (!accept(c)) fail(std::string("'") + c + "' expected");
  }
  std::string string() {
    const char quote = accept('\'') ? '\'' : '"';
    if (quote == '"') require('"');
    const size_t length = text_.find(quote);
    if (length == std::string_view::npos) fail("unfinished string");
    // The few strings that are right hold neither; in a message an escape or a control character is noise.
    const std::string value(text_.substr(0, length));
    if (value.size() > 40 ||
        std::any_of(value.begin(), value.end(), [](char c) { return c < ' ' || c > '~'; }))
      fail("unreadable string");
    text_.remove_prefix(length + 1);
    return value;
  }
  bool boolean() {
    if (accept("True")) return true;
    if (accept("False")) return false;
    fail("'fortran_order' must be True or False");
  }
  std::vector<int64_t> tuple() {
    std::vector<int64_t> values;
    require('(');
    while (!accept(')')) {
      values.push_back(integer());
      accept("L");  // a long integer as Python 2 wrote it
      if (!accept(',')) {
        if (values.size() == 1) fail("'shape' is not a tuple");
        require(')');
        break;
      }
    }
    if (values.size() > max_dimensions) fail("more than 32 dimensions");
    return values;
  }
  int64_t integer() {
    skip_space();
    int64_t value = 0;
    size_t digits = 0;
    for (; digits < text_.size() && text_[digits] >= '0' && text_[digits] <= '9'; ++digits) {
      if (__builtin_mul_overflow(value, int64_t{10}, &value) ||
          __builtin_add_overflow(value, int64_t{text_[digits] - '0'}, &value))
        fail("a size in 'shape' is too large");
    }
    if (digits == 0) fail("'shape' must hold sizes");
    text_.remove_prefix(digits);
    return value;
  }
  void parse_descr(NpyHeader& header) {
    skip_space();
    if (!text_.empty() && text_[0] == '[')
      throw NpyTypeError(
          name_ +
          ": holds a structured array, an array of plain numbers is needed; save the field that holds "
          "the counts");
    const std::string descr = string();
    const std::string code = descr.size() == 3 && std::strchr("<>|=", descr[0]) ? descr.substr(1) : descr;
    for (const TypeEntry& e : types) {
      if (code != e.code) continue;
      header.type = e.type;
      header.big_endian = descr[0] == '>';
      return;
    }
    throw NpyTypeError(name_ + ": holds elements of type '" + descr +
                       "'; bool, integers of 1 to 8 bytes and floats of 2, 4 or 8 bytes can be read; save "
                       "it with astype('float32'), of complex numbers the real part");
  }

  std::string_view text_;
  const std::string& name_;
};

std::string header_of(const char* descr, const std::vector<int64_t>& shape) {
  std::string text =
      std::string("{'descr': '") + descr + "', 'fortran_order': False, 'shape': " + shape_text(shape) + ", }";
  const size_t preamble = magic.size() + 4;
  while ((preamble + text.size() + 1) % 64 != 0) text += ' ';  // NumPy maps the data at a multiple of 64
  text += '\n';
  const auto length = static_cast<uint16_t>(text.size());
  const char version_and_length[4] = {1, 0, static_cast<char>(length & 255), static_cast<char>(length >> 8)};
  return std::string(magic) + std::string(version_and_length, sizeof version_and_length) + text;
}

template <class T>
void write_array(const std::string& path, const char* descr, const std::vector<int64_t>& shape,
                 const T* values) {
  const std::string header = header_of(descr, shape);
  const int64_t elements = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  AtomicFile file(path);
  file.write(header.data(), header.size());
  file.write(values, static_cast<size_t>(elements) * sizeof(T));
  file.commit();
}

// The header's text.
std::string_view header_text(std::span<const std::byte> content, const std::string& name) {
  const auto byte = [&](size_t i) { return std::to_integer<size_t>(content[i]); };
  if (content.size() < magic.size() + 4 || std::memcmp(content.data(), magic.data(), magic.size()) != 0)
    throw UserError(name + ": not a .npy file, or cut off in its first bytes");
  const size_t version = byte(6);
  if (version < 1 || version > 3)
    throw UserError(name + ": .npy version " + std::to_string(version) + " is unknown, 1 to 3 can be read");
  const size_t begin = version == 1 ? 10 : 12;
  if (content.size() < begin) throw UserError(name + ": cut off in its first bytes");
  const size_t length =
      version == 1 ? byte(8) | byte(9) << 8 : byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24;
  if (length > content.size() - begin)
    throw UserError(name + ": cut off: the header should have " + std::to_string(length) + " bytes, " +
                    std::to_string(content.size() - begin) + " are there");
  return {reinterpret_cast<const char*>(content.data()) + begin, length};
}

size_t offset_behind(std::string_view header, std::span<const std::byte> content) {
  return static_cast<size_t>(header.data() + header.size() - reinterpret_cast<const char*>(content.data()));
}

}  // namespace

NpyHeader parse_npy_header(std::span<const std::byte> content, uint64_t size, const std::string& name) {
  const std::string_view text = header_text(content, name);
  NpyHeader header;
  header.data_offset = offset_behind(text, content);
  HeaderParser(text, name).parse(header);
  const size_t element = element_size(header.type);
  header.elements = element_count(header.shape, element);
  if (header.elements < 0) throw UserError(name + ": shape " + shape_text(header.shape) + " is too large");
  const uint64_t bytes = static_cast<uint64_t>(header.elements) * element;
  const uint64_t present = size - header.data_offset;
  if (present != bytes)
    throw UserError(name + ": " + (present < bytes ? "cut off: " : "") + shape_text(header.shape) + " of " +
                    element_name(header.type) + " needs " + std::to_string(bytes) + " bytes of data, " +
                    std::to_string(present) + " are there");
  return header;
}

size_t npy_data_offset(std::span<const std::byte> content, const std::string& name) {
  return offset_behind(header_text(content, name), content);
}

std::string decode_npy_text(std::span<const std::byte> content, const std::string& name) {
  const bool big_endian = header_text(content, name).find("'>U") != std::string_view::npos;
  std::string text;
  for (size_t i = npy_data_offset(content, name); i + sizeof(uint32_t) <= content.size();
       i += sizeof(uint32_t)) {
    uint32_t point;
    std::memcpy(&point, content.data() + i, sizeof point);
    append_utf8(text, big_endian ? __builtin_bswap32(point) : point);
  }
  return text;
}

NpyHeader read_npy_header(const std::string& path) {
  const MappedFile file(path);
  return parse_npy_header(file.bytes(), file.size(), path);
}

StoredArray stored_array(const NpyHeader& header) {
  std::vector<size_t> order(header.shape.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (header.fortran_order) std::reverse(order.begin(), order.end());
  return StoredArray::dense(header.type, header.big_endian, header.shape, order);
}

NpyArray decode_npy(std::span<const std::byte> content, const std::string& name) {
  const NpyHeader header = parse_npy_header(content, content.size(), name);
  NpyArray array{header.shape, std::vector<float>(static_cast<size_t>(header.elements))};
  convert_array(content.data() + header.data_offset, stored_array(header), dense_strides(header.shape),
                array.values.data());
  return array;
}

NpyArray read_npy(const std::string& path) {
  const MappedFile file(path);
  return decode_npy(file.bytes(), path);
}

namespace {

// Whole numbers (y, x).
std::vector<float> decode_numbers(std::span<const std::byte> content, const std::string& name, int64_t y_size,
                                  int64_t x_size) {
  const NpyHeader header = parse_npy_header(content, content.size(), name);
  if (header.type >= ElementType::float16)
    throw UserError(name + ": a mask must hold booleans or integers, not " + element_name(header.type));
  const std::vector<int64_t> wanted = {y_size, x_size};
  if (header.shape != wanted)
    throw UserError(name + ": the mask has shape " + shape_text(header.shape) +
                    ", the image has (y, x) = " + shape_text(wanted));
  return decode_npy(content, name).values;
}

}  // namespace

std::vector<uint8_t> decode_npy_mask(std::span<const std::byte> content, const std::string& name,
                                     int64_t y_size, int64_t x_size) {
  std::vector<uint8_t> mask;
  for (float value : decode_numbers(content, name, y_size, x_size)) mask.push_back(value != 0);
  return mask;
}

std::vector<uint8_t> read_npy_mask(const std::string& path, int64_t y_size, int64_t x_size) {
  const MappedFile file(path);
  return decode_npy_mask(file.bytes(), path, y_size, x_size);
}

Truth decode_npy_truth(std::span<const std::byte> content, const std::string& name, int64_t y_size,
                       int64_t x_size) {
  const std::vector<float> numbers = decode_numbers(content, name, y_size, x_size);
  Truth truth;
  for (float value : numbers) truth.anomalous.push_back(value > 0);
  if (std::ranges::any_of(numbers, [](float value) { return value < 0; }))
    for (float value : numbers) truth.undecided.push_back(value < 0);
  return truth;
}

Truth read_npy_truth(const std::string& path, int64_t y_size, int64_t x_size) {
  const MappedFile file(path);
  return decode_npy_truth(file.bytes(), path, y_size, x_size);
}

std::string npy_float32_header(const std::vector<int64_t>& shape) {
  return header_of("<f4", shape);
}

void write_npy(const std::string& path, const std::vector<int64_t>& shape, const float* values) {
  write_array(path, "<f4", shape, values);
}

void write_npy(const std::string& path, const std::vector<int64_t>& shape, const uint8_t* mask) {
  const int64_t elements = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  std::vector<uint8_t> booleans(mask, mask + elements);  // NumPy takes any other byte for undefined behaviour
  for (uint8_t& value : booleans) value = value != 0;
  write_array(path, "|b1", shape, booleans.data());
}

void write_npy_labels(const std::string& path, const std::vector<int64_t>& shape, const uint8_t* labels) {
  write_array(path, "|u1", shape, labels);
}

void write_npy_truth(const std::string& path, const std::vector<int64_t>& shape, const Truth& truth) {
  if (truth.undecided.empty()) return write_npy(path, shape, truth.anomalous.data());
  std::vector<int8_t> values;
  for (size_t i = 0; i < truth.anomalous.size(); ++i)
    values.push_back(truth.anomalous[i] ? 1 : truth.undecided[i] ? -1 : 0);
  write_array(path, "|i1", shape, values.data());
}

}  // namespace eelsvae
