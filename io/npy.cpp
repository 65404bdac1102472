#include "io/npy.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string_view>

#include "io/atomic_file.h"
#include "io/mapped_file.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

static_assert(std::endian::native == std::endian::little, "files are written in the processor's byte order");

constexpr std::string_view magic("\x93NUMPY", 6);
constexpr size_t max_dimensions = 32;  // as NumPy 1

struct TypeEntry {
  const char* code;  // without byte order
  NpyType type;
  const char* name;
  size_t size;
};

constexpr TypeEntry types[] = {
    {"b1", NpyType::boolean, "bool", 1},    {"i1", NpyType::int8, "int8", 1},
    {"u1", NpyType::uint8, "uint8", 1},     {"i2", NpyType::int16, "int16", 2},
    {"u2", NpyType::uint16, "uint16", 2},   {"i4", NpyType::int32, "int32", 4},
    {"u4", NpyType::uint32, "uint32", 4},   {"i8", NpyType::int64, "int64", 8},
    {"u8", NpyType::uint64, "uint64", 8},   {"f2", NpyType::float16, "float16", 2},
    {"f4", NpyType::float32, "float32", 4}, {"f8", NpyType::float64, "float64", 8},
};

const TypeEntry& entry(NpyType type) {
  return *std::find_if(std::begin(types), std::end(types),
                       [&](const TypeEntry& e) { return e.type == type; });
}

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
      throw UserError(name_ + ": holds a structured array, an array of plain numbers is needed");
    const std::string descr = string();
    const std::string code = descr.size() == 3 && std::strchr("<>|=", descr[0]) ? descr.substr(1) : descr;
    for (const TypeEntry& e : types) {
      if (code != e.code) continue;
      header.type = e.type;
      header.big_endian = descr[0] == '>';
      return;
    }
    throw UserError(name_ + ": holds elements of type '" + descr +
                    "'; bool, integers of 1 to 8 bytes and floats of 2, 4 or 8 bytes can be read");
  }

  std::string_view text_;
  const std::string& name_;
};

float half_to_float(uint16_t half) {
  const int exponent = half >> 10 & 31;
  const int fraction = half & 1023;
  float magnitude;
  if (exponent == 31) {
    magnitude = fraction ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
  } else if (exponent == 0) {
    magnitude = std::ldexp(static_cast<float>(fraction), -24);
  } else {
    magnitude = std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  }
  return half & 0x8000 ? -magnitude : magnitude;
}

template <class T>
T load(const std::byte* bytes, bool big_endian) {
  std::byte raw[sizeof(T)];
  std::memcpy(raw, bytes, sizeof(T));
  if (big_endian) std::reverse(raw, raw + sizeof(T));
  T value;
  std::memcpy(&value, raw, sizeof(T));
  return value;
}

// Calls visit(load) where load(bytes) is one element as T; f(T) for every type of the table.
template <class Visit>
void with_loader(const NpyHeader& header, const Visit& visit) {
  const bool big = header.big_endian;
  switch (header.type) {
    case NpyType::boolean:
      return visit([](const std::byte* p) { return *p != std::byte{0}; });
    case NpyType::int8:
      return visit([=](const std::byte* p) { return load<int8_t>(p, big); });
    case NpyType::uint8:
      return visit([=](const std::byte* p) { return load<uint8_t>(p, big); });
    case NpyType::int16:
      return visit([=](const std::byte* p) { return load<int16_t>(p, big); });
    case NpyType::uint16:
      return visit([=](const std::byte* p) { return load<uint16_t>(p, big); });
    case NpyType::int32:
      return visit([=](const std::byte* p) { return load<int32_t>(p, big); });
    case NpyType::uint32:
      return visit([=](const std::byte* p) { return load<uint32_t>(p, big); });
    case NpyType::int64:
      return visit([=](const std::byte* p) { return load<int64_t>(p, big); });
    case NpyType::uint64:
      return visit([=](const std::byte* p) { return load<uint64_t>(p, big); });
    case NpyType::float16:
      return visit([=](const std::byte* p) { return half_to_float(load<uint16_t>(p, big)); });
    case NpyType::float32:
      return visit([=](const std::byte* p) { return load<float>(p, big); });
    case NpyType::float64:
      return visit([=](const std::byte* p) { return load<double>(p, big); });
  }
}

// Reads every element once, in C order: store(i, value) for i = 0, 1, ...
template <class Store>
void for_each_element(const NpyHeader& header, const std::byte* data, const Store& store) {
  const size_t size = entry(header.type).size;
  const size_t rank = header.shape.size();
  with_loader(header, [&](const auto& load_element) {
    if (!header.fortran_order || rank < 2) {
      for (int64_t i = 0; i < header.elements; ++i)
        store(i, load_element(data + static_cast<size_t>(i) * size));
      return;
    }
    std::array<size_t, max_dimensions> stride;  // bytes
    size_t bytes = size;
    for (size_t d = 0; d < rank; ++d) {
      stride[d] = bytes;
      bytes *= static_cast<size_t>(header.shape[d]);
    }
    std::array<int64_t, max_dimensions> index{};
    const std::byte* element = data;
    for (int64_t i = 0; i < header.elements; ++i) {
      store(i, load_element(element));
      for (size_t d = rank; d-- > 0;) {
        element += stride[d];
        if (++index[d] < header.shape[d]) break;
        element -= stride[d] * static_cast<size_t>(index[d]);
        index[d] = 0;
      }
    }
  });
}

template <class T>
void write_array(const std::string& path, const char* descr, const std::vector<int64_t>& shape,
                 const T* values) {
  std::string header =
      std::string("{'descr': '") + descr + "', 'fortran_order': False, 'shape': " + shape_text(shape) + ", }";
  const size_t preamble = magic.size() + 4;
  while ((preamble + header.size() + 1) % 64 != 0) header += ' ';  // NumPy maps the data at a multiple of 64
  header += '\n';
  const auto length = static_cast<uint16_t>(header.size());
  const char version_and_length[4] = {1, 0, static_cast<char>(length & 255), static_cast<char>(length >> 8)};
  const int64_t elements = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());

  AtomicFile file(path);
  file.write(magic.data(), magic.size());
  file.write(version_and_length, sizeof version_and_length);
  file.write(header.data(), header.size());
  file.write(values, static_cast<size_t>(elements) * sizeof(T));
  file.commit();
}

}  // namespace

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

const char* npy_type_name(NpyType type) {
  return entry(type).name;
}

NpyHeader parse_npy_header(std::span<const std::byte> content, const std::string& name) {
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

  NpyHeader header;
  header.data_offset = begin + length;
  HeaderParser({reinterpret_cast<const char*>(content.data()) + begin, length}, name).parse(header);
  int64_t bytes = static_cast<int64_t>(entry(header.type).size);
  // Sizes of zero would hide an overflow of the others, so they are left out until the product is known.
  bool empty = false;
  for (const int64_t size : header.shape) {
    empty |= size == 0;
    if (size != 0 && __builtin_mul_overflow(bytes, size, &bytes))
      throw UserError(name + ": shape " + shape_text(header.shape) + " is too large");
  }
  if (empty) bytes = 0;
  header.elements = bytes / static_cast<int64_t>(entry(header.type).size);
  const size_t present = content.size() - header.data_offset;
  if (present != static_cast<size_t>(bytes))
    throw UserError(name + ": " + (present < static_cast<size_t>(bytes) ? "cut off: " : "") +
                    shape_text(header.shape) + " of " + npy_type_name(header.type) + " needs " +
                    std::to_string(bytes) + " bytes of data, " + std::to_string(present) + " are there");
  return header;
}

NpyHeader read_npy_header(const std::string& path) {
  const MappedFile file(path);
  return parse_npy_header(file.bytes(), path);
}

NpyArray decode_npy(std::span<const std::byte> content, const std::string& name) {
  const NpyHeader header = parse_npy_header(content, name);
  NpyArray array{header.shape, std::vector<float>(static_cast<size_t>(header.elements))};
  for_each_element(header, content.data() + header.data_offset, [&](int64_t i, auto value) {
    array.values[static_cast<size_t>(i)] = static_cast<float>(value);
  });
  return array;
}

NpyArray read_npy(const std::string& path) {
  const MappedFile file(path);
  return decode_npy(file.bytes(), path);
}

std::vector<uint8_t> read_npy_mask(const std::string& path, int64_t y_size, int64_t x_size) {
  const MappedFile file(path);
  const NpyHeader header = parse_npy_header(file.bytes(), path);
  if (header.type >= NpyType::float16)
    throw UserError(path + ": a mask must hold booleans or integers, not " + npy_type_name(header.type));
  const std::vector<int64_t> wanted = {y_size, x_size};
  if (header.shape != wanted)
    throw UserError(path + ": the mask has shape " + shape_text(header.shape) +
                    ", the image has (y, x) = " + shape_text(wanted));
  std::vector<uint8_t> mask(static_cast<size_t>(header.elements));
  for_each_element(header, file.data() + header.data_offset,
                   [&](int64_t i, auto value) { mask[static_cast<size_t>(i)] = value != 0; });
  return mask;
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

}  // namespace eelsvae
