#include "io/simplon/stream_v2.h"

#include <array>
#include <optional>
#include <string_view>

#include "io/files/cbor_reader.h"
#include "io/files/message_text.h"

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

constexpr std::array<std::string_view, 10> names = {
    "type",       "series_id", "number_of_images", "image_size_x", "image_size_y",
    "frame_time", "channels",  "user_data",        "image_id",     "data"};

int64_t whole_number(int64_t number, std::string_view name, int64_t most) {
  if (number < 0 || number > most) {
    throw BadMessage(std::string(name) + " is " + std::to_string(number) + "; 0 to " + std::to_string(most) +
                     " is taken");
  }
  return number;
}

std::optional<int64_t> number_if_there(const CborFields& fields, std::string_view name, int64_t most) {
  return fields.has(name) ? std::optional(whole_number(fields.integer(name), name, most)) : std::nullopt;
}

uint64_t series_of(const CborFields& fields) {
  return fields.at("series_id").unsigned_integer();
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
  frame.rows = whole_number(reader.integer(), "the number of rows", most_frame_rows);
  item(sizes);
  frame.columns = whole_number(reader.integer(), "the number of columns", most_frame_columns);
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
    const int64_t element = whole_number(reader.integer(), "the element size", 255);
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

void StreamV2::take(std::span<const std::byte> message, SeriesEvents& events) {
  try {
    const CborFields fields(message, names);
    const std::string_view type = fields.text("type");
    if (type == "image") return image(fields, events);
    if (type == "start") return start(fields, events);
    if (type == "end") return events.end(series_of(fields));
    throw BadMessage("a CBOR message of type '" + one_line(type.substr(0, 40)) + "'");
  } catch (const BadCbor& error) {
    throw BadMessage(std::string("a CBOR message: ") + error.what());
  }
}

void StreamV2::start(const CborFields& fields, SeriesEvents& events) {
  SeriesStart start;
  start.series = series_of(fields);
  start.images = number_if_there(fields, "number_of_images", most_images);
  start.rows = number_if_there(fields, "image_size_y", most_frame_rows);
  start.columns = number_if_there(fields, "image_size_x", most_frame_columns);
  if (fields.has("frame_time")) start.frame_time = fields.number("frame_time");
  series_channel_.clear();
  if (fields.has("channels")) {
    CborReader reader = fields.at("channels");
    if (auto channels = reader.array(); channels.next()) series_channel_ = reader.text().substr(0, 200);
  }
  if (fields.has("user_data")) {
    CborReader end = fields.at("user_data");
    const size_t begin = end.position();
    end.skip();
    if (const size_t size = end.position() - begin; size > most_description_bytes) {
      throw BadMessage("user_data of " + std::to_string(size) + " bytes; at most " +
                       std::to_string(most_description_bytes) + " are taken");
    }
    start.user_data = fields.at("user_data").value();
  }
  events.start(start);
}

void StreamV2::image(const CborFields& fields, SeriesEvents& events) {
  SeriesImage image;
  image.series = series_of(fields);
  image.index = whole_number(fields.integer("image_id"), "image_id", most_images);
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
