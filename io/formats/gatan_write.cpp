#include "io/formats/gatan_write.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "io/files/atomic_file.h"
#include "io/files/stored_array.h"
#include "io/formats/gatan_image.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using nlohmann::json;

constexpr int64_t block_bytes = int64_t{64} << 20;  // energy planes that are transposed at a time

enum Type : uint64_t {
  int32 = 3,
  uint16 = 4,
  uint32 = 5,
  float32 = 6,
  float64 = 7,
  boolean = 8,
  int64 = 11,
  uint64 = 12
};

void append_big_endian(std::string& out, uint64_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(value >> 8 * i & 0xff);
}

template <class T>
void append_value(std::string& out, T value) {
  static_assert(std::endian::native == std::endian::little, "values are written as they lie in memory");
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof value);
}

// A tag on its way into a file: a group, or a value whose bytes may follow from elsewhere.
struct OutTag {
  std::string name;
  bool group = false;
  std::vector<OutTag> members;
  std::string content;       // a value: its type, and its bytes
  uint64_t later_bytes = 0;  // of the value, which are not in `content`

  uint64_t size() const;  // of the tag behind its name and length
};

uint64_t OutTag::size() const {
  if (!group) return content.size() + later_bytes;
  uint64_t bytes = 2 + 8;  // sorted, open, number of tags
  for (const OutTag& member : members) bytes += 1 + 2 + member.name.size() + 8 + member.size();
  return bytes;
}

OutTag group(const std::string& name, std::vector<OutTag> members) {
  OutTag tag;
  tag.name = name;
  tag.group = true;
  tag.members = std::move(members);
  return tag;
}

OutTag value_tag(const std::string& name, const std::vector<uint64_t>& type) {
  OutTag tag;
  tag.name = name;
  tag.content = "%%%%";
  append_big_endian(tag.content, type.size(), 8);
  for (const uint64_t word : type) append_big_endian(tag.content, word, 8);
  return tag;
}

template <class T>
OutTag number(const std::string& name, uint64_t type, T value) {
  OutTag tag = value_tag(name, {type});
  append_value(tag.content, value);
  return tag;
}

OutTag float64_tag(const std::string& name, double value) {
  return number(name, float64, value);
}

OutTag uint32_tag(const std::string& name, uint32_t value) {
  return number(name, uint32, value);
}

// Text is an array of UTF-16 units.
OutTag text(const std::string& name, const std::string& utf8) {
  std::string units;
  for (size_t i = 0; i < utf8.size();) {
    const auto first = static_cast<unsigned char>(utf8[i]);
    const size_t length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    uint32_t point = length == 1 ? first : first & (0x7fu >> length);
    for (size_t k = 1; k < length && i + k < utf8.size(); ++k)
      point = point << 6 | (static_cast<unsigned char>(utf8[i + k]) & 0x3f);
    i += length;
    if (point >= 0x10000) {
      append_value(units, static_cast<uint16_t>(0xd800 + ((point - 0x10000) >> 10 & 0x3ff)));
      point = 0xdc00 + (point & 0x3ff);
    }
    append_value(units, static_cast<uint16_t>(point));
  }
  OutTag tag = value_tag(name, {20, uint16, units.size() / 2});
  tag.content += units;
  return tag;
}

OutTag integer(const std::string& name, const json& value) {
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX})
    return number(name, uint64, value.get<uint64_t>());
  const auto n = value.get<int64_t>();
  return n == static_cast<int32_t>(n) ? number(name, int32, static_cast<int32_t>(n)) : number(name, int64, n);
}

OutTag number_list(const std::string& name, const json& list) {
  const bool integers =
      std::all_of(list.begin(), list.end(), [](const json& v) { return v.is_number_integer(); });
  OutTag tag = value_tag(name, {20, integers ? int64 : float64, list.size()});
  for (const json& value : list) {
    if (integers)
      append_value(tag.content, value.get<int64_t>());
    else
      append_value(tag.content, value.get<double>());
  }
  return tag;
}

// The place in a list that a name like "TagGroup12" stands for, or -1.
int64_t place_of(const std::string& name, std::string_view kind) {
  int64_t place = -1;
  if (!name.starts_with(kind)) return -1;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kind.size(), end, place);
  return error == std::errc() && stop == end && place >= 0 ? place : -1;
}

OutTag tags_from_json(const std::string& name, const json& object);

void add_tag(std::vector<OutTag>& tags, const std::string& name, const json& value) {
  const auto all_numbers = [](const json& list) {
    return std::all_of(list.begin(), list.end(), [](const json& v) { return v.is_number(); });
  };
  if (value.is_object())
    tags.push_back(tags_from_json(name, value));
  else if (value.is_string())
    tags.push_back(text(name, value.get_ref<const std::string&>()));
  else if (value.is_boolean())
    tags.push_back(number(name, boolean, static_cast<uint8_t>(value.get<bool>())));
  else if (value.is_number_integer())
    tags.push_back(integer(name, value));
  else if (value.is_number())
    tags.push_back(float64_tag(name, value.get<double>()));
  else if (value.is_array() && all_numbers(value))
    tags.push_back(number_list(name, value));
}

// Lists of lists and of texts, and null, have no form here and are left out.
OutTag tags_from_json(const std::string& name, const json& object) {
  OutTag result = group(name, {});
  std::vector<std::pair<int64_t, std::string>> unnamed;
  for (const auto& [key, value] : object.items()) {
    const int64_t place = place_of(key, value.is_object() ? "TagGroup" : "Data");
    if (place >= 0)
      unnamed.emplace_back(place, key);
    else
      add_tag(result.members, key.substr(0, UINT16_MAX), value);
  }
  std::sort(unnamed.begin(), unnamed.end());
  for (const auto& [place, key] : unnamed) add_tag(result.members, "", object[key]);
  return result;
}

// The number o for which -(o * scale), which readers form, is the offset or comes closest to it.
double origin_of(const Axis& axis) {
  const double first = -axis.offset / axis.scale;
  double best = first;
  for (const double next : {std::nextafter(first, -INFINITY), std::nextafter(first, INFINITY)}) {
    if (std::abs(-(next * axis.scale) - axis.offset) < std::abs(-(best * axis.scale) - axis.offset))
      best = next;
  }
  return best;
}

OutTag calibration(const std::string& name, double origin, double scale, const std::string& units) {
  return group(name, {float64_tag("Origin", origin), float64_tag("Scale", scale), text("Units", units)});
}

OutTag image_data(const SpectrumImage& image) {
  std::vector<OutTag> calibrations, sizes;
  for (const Axis* axis : {&image.x, &image.y, &image.energy}) {
    calibrations.push_back(calibration("", origin_of(*axis), axis->scale, axis->units));
    if (axis->size > UINT32_MAX)
      throw UserError("DM4 files hold less than 2^32 pixels or channels along an axis");
    sizes.push_back(uint32_tag("", static_cast<uint32_t>(axis->size)));
  }
  OutTag data = value_tag("Data", {20, float32, image.counts.size()});
  data.later_bytes = image.counts.size() * sizeof(float);
  return group("ImageData", {group("Calibrations", {calibration("Brightness", 0, 1, ""),
                                                    group("Dimension", std::move(calibrations)),
                                                    number("DisplayCalibratedUnits", boolean, uint8_t{1})}),
                             std::move(data), uint32_tag("DataType", 2),
                             group("Dimensions", std::move(sizes)), uint32_tag("PixelDepth", sizeof(float))});
}

// What DigitalMicrograph needs to show the image: a display, and its source, which sums over the energy.
OutTag document(const SpectrumImage& image, const json& metadata) {
  OutTag display = group("", {uint32_tag("AnnotationType", 20), uint32_tag("ImageDisplayType", 1),
                              uint32_tag("ImageSource", 0), number("IsVisible", boolean, uint8_t{1})});
  OutTag source =
      group("", {text("ClassName", "ImageSource:Summed"), number("Do Sum", boolean, uint8_t{1}),
                 group("Id", {uint32_tag("", 0)}), uint32_tag("ImageRef", 0), uint32_tag("LayerEnd", 0),
                 uint32_tag("LayerStart", 0), uint32_tag("Summed Dimension", 2)});
  OutTag stored = group("", {image_data(image), tags_from_json("ImageTags", gatan_image_tags(metadata)),
                             text("Name", image.title), group("UniqueID", {})});
  return group("",
               {group("DocumentObjectList", {std::move(display)}), group("ImageList", {std::move(stored)}),
                group("ImageSourceList", {std::move(source)}), number("InImageMode", boolean, uint8_t{1})});
}

// Energy planes (E, y, x), a block of them at a time.
void write_planes(AtomicFile& file, const SpectrumImage& image) {
  const int64_t pixels = image.pixels(), channels = image.energy.size;
  const int64_t step =
      std::clamp<int64_t>(block_bytes / (pixels * static_cast<int64_t>(sizeof(float))), 1, channels);
  CountArray block(static_cast<size_t>(step * pixels));
  for (int64_t begin = 0; begin < channels; begin += step) {
    const int64_t count = std::min(step, channels - begin);
    const StoredArray spectra{ElementType::float32,
                              false,
                              {pixels, count},
                              {channels * static_cast<int64_t>(sizeof(float)), sizeof(float)}};
    convert_array(reinterpret_cast<const std::byte*>(image.counts.data() + begin), spectra,
                  std::vector<int64_t>{1, pixels}, block.data());
    file.write(block.data(), static_cast<size_t>(count * pixels) * sizeof(float));
  }
}

void write_group(AtomicFile& file, const OutTag& tags, const SpectrumImage& image) {
  std::string start(2, '\1');  // sorted, open
  append_big_endian(start, tags.members.size(), 8);
  file.write(start.data(), start.size());
  for (const OutTag& tag : tags.members) {
    std::string header(1, static_cast<char>(tag.group ? 20 : 21));
    append_big_endian(header, tag.name.size(), 2);
    header += tag.name;
    append_big_endian(header, tag.size(), 8);
    file.write(header.data(), header.size());
    if (tag.group) {
      write_group(file, tag, image);
    } else {
      file.write(tag.content.data(), tag.content.size());
      if (tag.later_bytes > 0) write_planes(file, image);
    }
  }
}

}  // namespace

void write_dm4(const std::string& path, const SpectrumImage& image) {
  expect(static_cast<int64_t>(image.counts.size()) == image.pixels() * image.energy.size &&
             !image.counts.empty(),
         "a spectrum image holds y * x * E counts");
  const json metadata = json::parse(image.metadata, nullptr, false);
  expect(metadata.is_object(), "metadata is a JSON object");
  const OutTag root = document(image, metadata);
  AtomicFile file(path);
  std::string header;
  append_big_endian(header, 4, 4);  // version
  append_big_endian(header, root.size(), 8);
  append_big_endian(header, 1, 4);  // values are little-endian
  file.write(header.data(), header.size());
  write_group(file, root, image);
  const char end[8] = {};
  file.write(end, sizeof end);
  file.commit();
}

}  // namespace eelsvae
