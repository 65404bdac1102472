#include "io/simplon/stream_v2.h"

#include <array>
#include <optional>
#include <string_view>

#include "io/files/message_text.h"
#include "io/simplon/cbor_reader.h"

namespace eelsvae {
namespace {

// Tags of numbers in an array (RFC 8746, section 2.1), of the array (3.1), and of compressed bytes
// (https://github.com/dectris/documentation, cbor/dectris-compression-tag.md).
constexpr uint64_t array_tag = 40, compression_tag = 56500;
struct TypedArray {
  uint64_t tag;
  int pixel_bytes;
  bool big_endian;
};
constexpr std::array<TypedArray, 6> typed_arrays = {
    {{64, 1, false}, {68, 1, false}, {65, 2, true}, {66, 4, true}, {69, 2, false}, {70, 4, false}}};

constexpr std::array<std::string_view, 12> names = {
    "type",        "series_id",  "series_unique_id", "number_of_images", "image_size_x", "image_size_y",
    "image_dtype", "frame_time", "channels",         "user_data",        "image_id",     "data"};

int64_t whole_number(CborReader reader, std::string_view name, int64_t most) {
  const uint64_t number = reader.unsigned_integer();
  if (number > static_cast<uint64_t>(most)) {
    throw BadMessage(std::string(name) + " is " + std::to_string(number) + "; at most " +
                     std::to_string(most) + " is taken");
  }
  return static_cast<int64_t>(number);
}

void take_array(CborReader& reader, EncodedFrame& frame) {
  if (reader.tag() != array_tag)
    throw BadMessage("an image that is no array of rows and columns (CBOR tag 40)");
  auto both = reader.array();
  const auto item = [](CborReader::Items& items) {
    if (!items.next()) throw BadMessage("an image whose array ends too early");
  };
  item(both);
  auto sizes = reader.array();
  item(sizes);
  frame.rows = whole_number(reader, "the number of rows", most_frame_rows);
  reader.skip();
  item(sizes);
  frame.columns = whole_number(reader, "the number of columns", most_frame_columns);
  reader.skip();
  if (sizes.next()) throw BadMessage("an image of more than two dimensions");
  item(both);
  const uint64_t type = reader.tag();
  const TypedArray* found = nullptr;
  for (const TypedArray& each : typed_arrays)
    if (each.tag == type) found = &each;
  if (!found) {
    throw BadMessage("an image of numbers with CBOR tag " + std::to_string(type) +
                     "; unsigned integers of 8, 16 and 32 bits are taken");
  }
  frame.pixel_bytes = found->pixel_bytes;
  frame.big_endian = found->big_endian;
  if (!reader.at_tag()) {
    frame.packing = FramePacking::none;
    frame.bytes = reader.bytes();
  } else {
    if (const uint64_t tag = reader.tag(); tag != compression_tag)
      throw BadMessage("bytes of an image with CBOR tag " + std::to_string(tag) +
                       "; 56500 (compressed) is taken");
    auto parts = reader.array();
    item(parts);
    const std::string_view algorithm = reader.text();
    item(parts);
    const int64_t element = whole_number(reader, "the element size", 255);
    reader.skip();
    item(parts);
    frame.bytes = reader.bytes();
    if (parts.next()) throw BadMessage("compressed bytes with more than three items");
    if (algorithm == "lz4") {
      frame.packing = FramePacking::lz4_blocks;
    } else if (algorithm == "bslz4" && (element == 1 || element == 2 || element == 4)) {
      frame.packing = FramePacking::bitshuffle_lz4;
      frame.shuffled_bytes = static_cast<int>(element);
    } else {
      throw BadMessage("an image compressed by '" + one_line(algorithm.substr(0, 40)) + "', element size " +
                       std::to_string(element) + "; set the detector's compression to bslz4, lz4 or none");
    }
  }
  if (both.next()) throw BadMessage("an array of more than sizes and numbers");
}

}  // namespace

// Where the values of the keys above are; null counts as absent.
struct StreamV2::Fields {
  explicit Fields(std::span<const std::byte> whole) : message(whole) {
    CborReader reader(message);
    while (reader.at_tag()) reader.tag();
    for (auto pairs = reader.map(); pairs.next();) {
      std::string_view key;
      if (reader.at_text())
        key = reader.text();
      else
        reader.skip();
      const size_t begin = reader.position();
      constexpr std::byte null{0xf6};
      const bool absent = begin < message.size() && message[begin] == null;
      reader.skip();
      for (size_t i = 0; i < names.size(); ++i)
        if (names[i] == key && !absent) places[i] = {begin, reader.position()};
    }
    if (!reader.at_end()) throw BadMessage("a CBOR message with something behind its map");
  }

  struct Place {
    size_t begin = 0, end = 0;
  };
  const Place& place(std::string_view name) const {
    size_t i = 0;
    while (names[i] != name) ++i;
    return places[i];
  }
  bool has(std::string_view name) const { return place(name).end > 0; }
  CborReader at(std::string_view name) const {
    if (!has(name)) throw BadMessage("a CBOR message without " + std::string(name));
    return CborReader(message, place(name).begin);
  }
  std::optional<int64_t> number_if_there(std::string_view name, int64_t most) const {
    return has(name) ? std::optional(whole_number(at(name), name, most)) : std::nullopt;
  }
  std::string text_if_there(std::string_view name) const {
    return has(name) ? one_line(at(name).text().substr(0, 200)) : std::string();
  }
  uint64_t series() const { return at("series_id").unsigned_integer(); }

  std::span<const std::byte> message;
  std::array<Place, names.size()> places = {};
};

void StreamV2::take(std::span<const std::byte> message, SeriesEvents& events) {
  const Fields fields(message);
  const std::string_view type = fields.at("type").text();
  if (type == "image") return image(fields, events);
  if (type == "start") return start(fields, events);
  if (type == "end") return events.end(fields.series());
  throw BadMessage("a CBOR message of type '" + one_line(type.substr(0, 40)) + "'");
}

void StreamV2::start(const Fields& fields, SeriesEvents& events) {
  SeriesStart start;
  start.series = fields.series();
  start.unique_id = fields.text_if_there("series_unique_id");
  start.images = fields.number_if_there("number_of_images", most_images);
  start.rows = fields.number_if_there("image_size_y", most_frame_rows);
  start.columns = fields.number_if_there("image_size_x", most_frame_columns);
  start.pixel_type = fields.text_if_there("image_dtype");
  if (fields.has("frame_time")) start.frame_time = fields.at("frame_time").number();
  series_channel_.clear();
  if (fields.has("channels")) {
    CborReader reader = fields.at("channels");
    if (auto channels = reader.array(); channels.next()) series_channel_ = reader.text().substr(0, 200);
  }
  start.channel = one_line(channel_.empty() ? series_channel_ : channel_);
  if (fields.has("user_data")) {
    const Fields::Place& place = fields.place("user_data");
    if (place.end - place.begin > most_description_bytes) {
      throw BadMessage("user_data of " + std::to_string(place.end - place.begin) + " bytes; at most " +
                       std::to_string(most_description_bytes) + " are taken");
    }
    start.user_data = fields.at("user_data").value();
  }
  events.start(start);
}

void StreamV2::image(const Fields& fields, SeriesEvents& events) {
  SeriesImage image;
  image.series = fields.series();
  image.index = whole_number(fields.at("image_id"), "image_id", most_images);
  const std::string& wanted = channel_.empty() ? series_channel_ : channel_;
  std::string others;
  EncodedFrame frame;
  CborReader reader = fields.at("data");
  for (auto channels = reader.map(); channels.next();) {
    const std::string_view name = reader.text();
    if (wanted.empty() || name == wanted) {
      take_array(reader, frame);
      image.spectrum = sum_.spectrum(frame);
      image.rows = frame.rows, image.columns = frame.columns;
      image.drawn_columns = sum_.drawn_columns();
      return events.image(image);
    }
    if (others.size() < 100) others += (others.empty() ? "" : ", ") + one_line(name.substr(0, 40));
    reader.skip();
  }
  if (others.empty()) throw BadMessage("an image without data");
  throw BadMessage("an image without the channel '" + one_line(wanted) + "'; it has: " + others);
}

}  // namespace eelsvae
