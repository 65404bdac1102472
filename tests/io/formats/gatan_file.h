#pragma once

// A second, independent writer of DM3 and DM4 files for the tests: any tag tree, either byte order.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace eelsvae {

// Encodes tags; each function returns the bytes of one tag.
struct GatanFile {
  int version = 4;  // 3 or 4
  bool big_endian = false;

  std::string tree_number(uint64_t value, int bytes) const {
    std::string out;
    for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(value >> 8 * i & 0xff);
    return out;
  }
  std::string count(uint64_t value) const { return tree_number(value, version == 4 ? 8 : 4); }

  template <class T>
  std::string bytes(T value) const {
    std::string out(sizeof value, '\0');
    std::memcpy(out.data(), &value, sizeof value);
    if (big_endian != (std::endian::native == std::endian::big)) std::reverse(out.begin(), out.end());
    return out;
  }

  std::string tag(int kind, const std::string& name, const std::string& content) const {
    return tree_number(static_cast<uint64_t>(kind), 1) + tree_number(name.size(), 2) + name +
           (version == 4 ? tree_number(content.size(), 8) : "") + content;
  }

  std::string members(const std::vector<std::string>& tags) const {
    std::string out("\1\0", 2);
    out += count(tags.size());
    for (const std::string& tag : tags) out += tag;
    return out;
  }

  std::string group(const std::string& name, const std::vector<std::string>& tags) const {
    return tag(20, name, members(tags));
  }

  // `type`: the words of the type, `value`: its encoded bytes.
  std::string value(const std::string& name, const std::vector<uint64_t>& type,
                    const std::string& value) const {
    std::string content = "%%%%" + count(type.size());
    for (const uint64_t word : type) content += count(word);
    return tag(21, name, content + value);
  }

  template <class T>
  std::string number(const std::string& name, uint64_t type, T number) const {
    return value(name, {type}, bytes(number));
  }
  std::string f32(const std::string& name, float v) const { return number(name, 6, v); }
  std::string f64(const std::string& name, double v) const { return number(name, 7, v); }
  std::string u32(const std::string& name, uint32_t v) const { return number(name, 5, v); }

  std::string text(const std::string& name, const std::u16string& units) const {
    std::string content;
    for (const char16_t unit : units) content += bytes(static_cast<uint16_t>(unit));
    return value(name, {20, 4, units.size()}, content);
  }

  std::string file(const std::vector<std::string>& root) const {
    const std::string tree = members(root);
    return tree_number(static_cast<uint64_t>(version), 4) + count(tree.size()) +
           tree_number(big_endian ? 0 : 1, 4) + tree + std::string(8, '\0');
  }

  // An image as DigitalMicrograph writes it. `data`: the whole tag Data.
  struct Dimension {
    uint32_t size = 1;
    float origin = 0, scale = 1;
    std::u16string units = u"";
  };
  std::string image(const std::u16string& name, uint32_t data_type, const std::vector<Dimension>& dimensions,
                    const std::string& data, const std::vector<std::string>& image_tags = {}) const {
    std::vector<std::string> calibrations, sizes;
    for (const Dimension& d : dimensions) {
      calibrations.push_back(
          group("", {f32("Origin", d.origin), f32("Scale", d.scale), text("Units", d.units)}));
      sizes.push_back(u32("", d.size));
    }
    const std::string brightness =
        group("Brightness", {f32("Origin", 0), f32("Scale", 1), text("Units", u"")});
    return group("", {group("ImageData",
                            {group("Calibrations", {brightness, group("Dimension", calibrations)}), data,
                             u32("DataType", data_type), group("Dimensions", sizes), u32("PixelDepth", 4)}),
                      group("ImageTags", image_tags), text("Name", name), group("UniqueID", {u32("", 7)})});
  }

  std::string meta_data(const std::u16string& format, const std::u16string& signal) const {
    return group("Meta Data", {text("Format", format), text("Signal", signal)});
  }
};

// Tags of every kind, which a reader of images has no use for.
inline std::vector<std::string> gatan_junk(const GatanFile& f, int depth = 8) {
  std::vector<std::string> tags = {
      f.number("i16", 2, int16_t{-2}),
      f.number("i32", 3, int32_t{-3}),
      f.number("u16", 4, uint16_t{65535}),
      f.number("u32", 5, uint32_t{4294967295}),
      f.f32("f32", 0.25f),
      f.f64("f64", 0.1),
      f.number("bool", 8, uint8_t{1}),
      f.number("i8", 9, int8_t{-9}),
      f.number("u8", 10, uint8_t{200}),
      f.number("i64", 11, int64_t{-11}),
      f.number("u64", 12, ~uint64_t{0}),
      f.value("string", {18, 5}, "bytes"),
      f.value("structure", {15, 0, 3, 0, 2, 0, 7, 0, 8},
              f.bytes(int16_t{5}) + f.bytes(2.5) + f.bytes(uint8_t{0})),
      f.value("structures", {20, 15, 0, 2, 0, 2, 0, 3, 2},
              f.bytes(int16_t{1}) + f.bytes(int32_t{2}) + f.bytes(int16_t{3}) + f.bytes(int32_t{4})),
      f.value("strings", {20, 18, 2, 3}, "aabbcc"),
      f.value("arrays", {20, 20, 10, 2, 2}, "\1\2\3\4"),
      f.value("no text", {20, 4, 2}, f.bytes(uint16_t{0xd800}) + f.bytes(uint16_t{5})),
      f.value("large", {20, 10, 5000}, std::string(5000, 'x')),
      f.value("", {20, 3, 0}, ""),
      f.value("", {20, 3, 2}, f.bytes(int32_t{6}) + f.bytes(int32_t{7})),
      f.text("\xb5 Latin-1 name", u"\u00b5m \u20ac \U0001f52c"),
      f.group("empty", {}),
  };
  if (depth > 0) tags.push_back(f.group("nested", gatan_junk(f, depth - 1)));
  return tags;
}

}  // namespace eelsvae
