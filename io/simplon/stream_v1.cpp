#include "io/simplon/stream_v1.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "io/files/json_text.h"
#include "io/files/message_text.h"

namespace eelsvae {
namespace {

using nlohmann::json;

std::string_view characters(std::span<const std::byte> part) {
  return {reinterpret_cast<const char*>(part.data()), part.size()};
}

json parse(std::span<const std::byte> part) {
  if (part.size() > most_description_bytes) {
    throw BadMessage("a description of " + std::to_string(part.size()) + " bytes; at most " +
                     std::to_string(most_description_bytes) + " are taken");
  }
  try {
    return parse_json_object(std::string(characters(part)), "a part of a message");
  } catch (const UserError& error) {
    throw BadMessage(error.what());
  }
}

// "" where there is none.
std::string text(const json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return "";
  return one_line(found->get_ref<const std::string&>().substr(0, 200));
}

// A whole number; some write it as a float.
std::optional<int64_t> number_if_there(const json& object, const char* key, int64_t most) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::nullopt;
  const double value = found->is_number() ? found->get<double>() : -1;
  if (!(value >= 0 && value <= static_cast<double>(most)) || value != std::floor(value)) {
    throw BadMessage(std::string(key) + " is " + one_line(found->dump(-1, ' ', true).substr(0, 40)) +
                     ", not a whole number up to " + std::to_string(most));
  }
  return found->is_number_integer() ? found->get<int64_t>() : static_cast<int64_t>(value);
}

int64_t number(const json& object, const char* key, int64_t most) {
  const auto found = number_if_there(object, key, most);
  if (!found) throw BadMessage(text(object, "htype") + " without " + key);
  return *found;
}

int pixel_bytes_of(const std::string& type) {
  if (type == "uint8") return 1;
  if (type == "uint16") return 2;
  if (type == "uint32") return 4;
  throw BadMessage("an image of type '" + type + "'; uint8, uint16 and uint32 are taken");
}

// "bs16-lz4<", "lz4<", "<": bitshuffle and the bits of its numbers, LZ4, and the order of the bytes.
void set_packing(const std::string& encoding, EncodedFrame& frame) {
  std::string_view rest = encoding;
  frame.big_endian = rest.ends_with('>');
  if (rest.ends_with('<') || rest.ends_with('>')) rest.remove_suffix(1);
  frame.packing = FramePacking::bitshuffle_lz4;
  if (rest == "bs8-lz4") {
    frame.shuffled_bytes = 1;
  } else if (rest == "bs16-lz4") {
    frame.shuffled_bytes = 2;
  } else if (rest == "bs32-lz4") {
    frame.shuffled_bytes = 4;
  } else if (rest == "lz4") {
    frame.packing = FramePacking::lz4;
  } else if (rest.empty()) {
    frame.packing = FramePacking::none;
  } else {
    throw BadMessage("an image in the encoding '" + encoding +
                     "'; set the detector's compression to bslz4, lz4 or none");
  }
}

}  // namespace

void StreamV1::forget_message() {
  next_ = Next::anything;
  in_header_ = in_image_ = false;
}

void StreamV1::take(std::span<const std::byte> part, bool last, SeriesEvents& events) {
  switch (next_) {
    case Next::table:
      next_ = Next::anything;
      break;
    case Next::image:
      next_ = Next::anything;
      in_image_ = true;
      frame_.bytes = part;
      image_.spectrum = sum_.spectrum(frame_);
      image_.drawn_columns = sum_.drawn_columns();
      events.image(image_);
      break;
    case Next::anything:
    case Next::image_description:
      take_description(part, events);
      break;
  }
  if (!last) return;
  const bool whole = next_ == Next::anything;
  forget_message();
  if (start_ && !wants_configuration_) send_start(events);
  if (!whole) throw BadMessage("a message that ends before the bytes that it describes");
}

void StreamV1::take_description(std::span<const std::byte> part, SeriesEvents& events) {
  const bool is_json = characters(part).starts_with('{');
  json object;
  std::string fault;
  try {
    if (is_json) object = parse(part);
  } catch (const BadMessage& error) {
    fault = error.what();
  }
  const std::string type = text(object, "htype");
  if (!type.ends_with("-1.0") && next_ != Next::image_description) {
    if (start_ && wants_configuration_ && object.is_object()) return take_configuration(object);
    // Appendices may be anything.
    if (in_header_) return take_appendix(part);
    if (in_image_) return;
  }
  if (type.empty()) {
    if (!is_json) throw BadMessage("bytes where a description should be");
    throw BadMessage(fault.empty() ? "a description without htype" : fault);
  }
  if (next_ == Next::image_description) {
    if (type != "dimage_d-1.0") throw BadMessage("'" + type + "' where dimage_d-1.0 should be");
    return describe_image(object);
  }
  // What is behind a header without its configuration is another message.
  if (start_ && (type == "dheader-1.0" || type == "dimage-1.0" || type == "dseries_end-1.0"))
    send_start(events);
  if (type == "dheader-1.0") {
    SeriesStart start;
    start.series = static_cast<uint64_t>(number(object, "series", most_images));
    start_ = std::move(start);
    wants_configuration_ = text(object, "header_detail") != "none";
    in_header_ = true;
  } else if (type == "dimage-1.0") {
    image_ = {};
    image_.series = static_cast<uint64_t>(number(object, "series", most_images));
    image_.index = number(object, "frame", most_images);
    next_ = Next::image_description;
    in_header_ = false;
  } else if (type == "dseries_end-1.0") {
    in_header_ = false;
    events.end(static_cast<uint64_t>(number(object, "series", most_images)));
  } else if (object.contains("shape")) {
    next_ = Next::table;
  }
}

void StreamV1::take_configuration(const json& configuration) {
  wants_configuration_ = false;
  SeriesStart& start = *start_;
  start.rows = number_if_there(configuration, "y_pixels_in_detector", most_frame_rows);
  start.columns = number_if_there(configuration, "x_pixels_in_detector", most_frame_columns);
  if (const auto time = configuration.find("frame_time"); time != configuration.end() && time->is_number())
    start.frame_time = time->get<double>();
  // A trigger of each image, or one that begins several.
  const auto triggers = number_if_there(configuration, "ntrigger", most_images);
  const auto images = number_if_there(configuration, "nimages", most_images);
  const bool one_each = text(configuration, "trigger_mode").ends_with("e");
  const int64_t each = one_each ? 1 : images.value_or(1);
  if ((images || triggers) && each <= most_images / std::max<int64_t>(triggers.value_or(1), 1))
    start.images = each * triggers.value_or(1);
}

void StreamV1::take_appendix(std::span<const std::byte> part) {
  if (part.size() > most_description_bytes) {
    throw BadMessage("a header_appendix of " + std::to_string(part.size()) + " bytes; at most " +
                     std::to_string(most_description_bytes) + " are taken");
  }
  start_->user_data = utf8_text(characters(part));
}

void StreamV1::describe_image(const json& description) {
  next_ = Next::image;
  frame_ = {};
  const auto shape = description.find("shape");
  // Columns, rows, and a 1 of some.
  const bool two = shape != description.end() && shape->is_array() &&
                   (shape->size() == 2 || (shape->size() == 3 && (*shape)[2] == 1));
  if (!two) throw BadMessage("dimage_d-1.0 whose shape is not that of an image");
  const json sizes = {{"htype", "dimage_d-1.0"}, {"columns", (*shape)[0]}, {"rows", (*shape)[1]}};
  frame_.columns = number(sizes, "columns", most_frame_columns);
  frame_.rows = number(sizes, "rows", most_frame_rows);
  frame_.pixel_bytes = pixel_bytes_of(text(description, "type"));
  set_packing(text(description, "encoding"), frame_);
  image_.rows = frame_.rows, image_.columns = frame_.columns;
}

void StreamV1::send_start(SeriesEvents& events) {
  const SeriesStart start = *std::exchange(start_, std::nullopt);
  wants_configuration_ = false;
  events.start(start);
}

}  // namespace eelsvae
