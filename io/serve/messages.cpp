#include "io/serve/messages.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/thread_count.h"
#include "io/config/detection_json.h"
#include "io/files/message_text.h"
#include "io/files/stored_array.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using nlohmann::json;

constexpr size_t longest_title = 200;
constexpr std::array<std::string_view, 16> names = {
    "type",  "version",  "series", "title",  "shape",  "channels", "energy_offset", "dispersion",
    "dtype", "excluded", "rate",   "resume", "number", "first",    "count",         "data"};
constexpr uint64_t most_items = 4096;  // of a message; its own has less than 40

std::string short_text(const CborFields& map, std::string_view key, size_t longest) {
  const std::string_view text = map.text(key);
  if (text.size() > longest)
    throw UserError(std::string(key) + ": longer than " + std::to_string(longest) + " bytes");
  return one_line(text);
}

std::string series_of(const CborFields& map) {
  std::string series = short_text(map, "series", longest_series);
  if (series.empty() || series != map.text("series"))
    throw UserError("series: empty, or with other characters than UTF-8 has for a line; name the scan");
  return series;
}

int64_t integer_within(const CborFields& map, std::string_view key, int64_t low, int64_t high) {
  const int64_t value = map.integer(key);
  if (value < low || value > high)
    throw UserError(std::string(key) + ": " + std::to_string(value) + " is not within " +
                    std::to_string(low) + " and " + std::to_string(high));
  return value;
}

CborFields fields_of(std::span<const std::byte> message) {
  try {
    return CborFields(message, names, most_items);
  } catch (const BadCbor& error) {
    throw UserError(std::string("not a message of this protocol: ") + error.what());
  }
}

StartMessage start_message(const CborFields& map) {
  const int64_t version = map.integer("version");
  if (version != protocol_version)
    throw UserError("version: this service speaks version " + std::to_string(protocol_version) +
                    ", the client " + std::to_string(version) + "; take the client file that came with it");
  StartMessage start;
  start.series = series_of(map);
  if (map.has("title")) start.title = short_text(map, "title", longest_title);
  const std::vector<int64_t> shape = map.integers("shape", 2);
  if (shape.size() != 2) throw UserError("shape: not [y, x]");
  start.plan.height = shape[0];
  start.plan.width = shape[1];
  start.plan.energy = {"Energy loss", "eV", map.number("energy_offset"), map.number("dispersion"),
                       map.integer("channels")};
  check_scan_size(start.plan.height, start.plan.width, start.plan.energy.size);
  if (start.plan.energy.scale <= 0) throw UserError("dispersion: not positive (eV per channel)");
  const std::string type(map.text("dtype"));
  const std::optional<ElementType> element = element_type_named(type);
  if (!element || *element == ElementType::boolean)
    throw UserError("dtype: '" + one_line(type) + "' is no type of counts; 'uint16' or 'float32', say");
  start.type = *element;
  if (map.has("excluded")) {
    const std::span<const std::byte> mask = map.bytes("excluded").bytes;
    if (static_cast<int64_t>(mask.size()) != shape[0] * shape[1])
      throw UserError("excluded: " + std::to_string(mask.size()) + " bytes for a scan of " +
                      shape_text(shape) + "; a byte for each pixel");
    start.plan.excluded.resize(mask.size());
    std::transform(mask.begin(), mask.end(), start.plan.excluded.begin(),
                   [](std::byte b) { return b != std::byte{0}; });
  }
  if (map.has("rate")) {
    start.rate = map.number("rate");
    if (*start.rate <= 0) throw UserError("rate: not positive (spectra/s)");
  }
  start.resume = map.flag("resume", false);
  return start;
}

BlockMessage block_message(const CborFields& map) {
  BlockMessage block;
  block.series = map.text("series");
  block.number = integer_within(map, "number", 0, int64_t{1} << 62);
  block.first = integer_within(map, "first", 0, most_scan_pixels);
  block.count = integer_within(map, "count", 1, most_scan_pixels);
  block.data = map.bytes("data");
  return block;
}

// RFC 8746's tag of little-endian numbers of a type.
uint64_t array_tag(ElementType type) {
  switch (type) {
    case ElementType::boolean:
    case ElementType::uint8:
      return 64;
    case ElementType::uint16:
      return 69;
    case ElementType::uint32:
      return 70;
    case ElementType::uint64:
      return 71;
    case ElementType::int8:
      return 72;
    case ElementType::int16:
      return 77;
    case ElementType::int32:
      return 78;
    case ElementType::int64:
      return 79;
    case ElementType::float16:
      return 84;
    case ElementType::float32:
      return 85;
    case ElementType::float64:
      return 86;
  }
  return 0;
}

}  // namespace

void check_scan_size(int64_t height, int64_t width, int64_t channels) {
  const std::string shape = shape_text({height, width});
  if (height < 1 || width < 1 || height > most_scan_pixels / width)
    throw UserError("shape: " + shape + " is not a scan of 1 to " + std::to_string(most_scan_pixels) +
                    " pixels");
  if (channels < 1 || channels > most_channels)
    throw UserError("channels: " + std::to_string(channels) + " is not within 1 and " +
                    std::to_string(most_channels));
  if (width > most_row_numbers / channels)
    throw UserError("shape: rows of " + std::to_string(width) + " spectra of " + std::to_string(channels) +
                    " channels have more than " + std::to_string(most_row_numbers) + " numbers");
  if (width > most_row_spectra)
    throw UserError("shape: rows of " + std::to_string(width) + " spectra have more than " +
                    std::to_string(most_row_spectra));
}

ClientMessage parse_client_message(std::span<const std::byte> message) {
  const CborFields map = fields_of(message);
  const std::string_view type = map.text("type");
  try {
    if (type == "block") return block_message(map);
    if (type == "beat") return BeatMessage();
    if (type == "start") return start_message(map);
    if (type == "end") return EndMessage{series_of(map)};
    if (type == "watch") return WatchMessage();
    if (type == "status") return StatusMessage();
    if (type == "leave") return LeaveMessage();
  } catch (const UserError& error) {
    throw UserError(std::string(type) + ": " + error.what());
  }
  throw UserError("type: '" + one_line(type.substr(0, 40)) +
                  "' is none of start, block, end, status, watch, beat, leave");
}

std::vector<float> spectra_of(const BlockMessage& block, ElementType type, int64_t channels) {
  const auto size = static_cast<int64_t>(element_size(type));
  const auto bytes = static_cast<int64_t>(block.data.bytes.size());
  if (bytes / size / channels != block.count || bytes != block.count * channels * size)
    throw UserError("block: " + std::to_string(bytes) + " bytes for " + std::to_string(block.count) +
                    " spectra of " + std::to_string(channels) + " channels of " + element_name(type));
  if (block.data.tag && *block.data.tag != array_tag(type))
    throw UserError("block: its bytes are tagged as another type than " + std::string(element_name(type)));
  std::vector<float> spectra(static_cast<size_t>(block.count * channels));
  const ThreadCount one(1);  // blocks are small: waking others takes longer
  const StoredArray array = StoredArray::dense(type, false, {block.count, channels}, {0, 1});
  convert_array(block.data.bytes.data(), array, dense_strides(array.shape), spectra.data());
  return spectra;
}

std::string encoded(const json& message) {
  std::string bytes;
  json::to_cbor(message, bytes);
  return bytes;
}

json float_bytes(std::span<const float> values) {
  const auto* first = reinterpret_cast<const uint8_t*>(values.data());
  return json::binary({first, first + values.size_bytes()}, 85);
}

json error_message(const std::string& line) {
  return {{"type", "error"}, {"message", one_line(line)}};
}

json counts_message(const ScanCounts& counts) {
  return {{"received", counts.received},
          {"repeated", counts.repeated},
          {"late", counts.late},
          {"missing", counts.missing}};
}

json regions_message(const Detection& found, int64_t width) {
  json regions = json::array();
  for (size_t i = 0; i < std::min(found.regions.size(), regions_shown); ++i) {
    const Region& region = found.regions[i];
    double y = 0, x = 0;
    for (const int64_t pixel : region.pixels) {
      y += static_cast<double>(pixel / width);
      x += static_cast<double>(pixel % width);
    }
    const auto count = static_cast<double>(region.pixels.size());
    regions.push_back({{"pixels", region.pixels.size()},
                       {"y", y / count},
                       {"x", x / count},
                       {"strongest", region.strongest},
                       {"highest_score", region.highest_score}});
  }
  return {{"type", "regions"},
          {"found", found.regions.size()},
          {"anomalous", found.anomalous_pixels()},
          {"threshold", std::isfinite(found.threshold) ? json(found.threshold) : json(nullptr)},
          {"doubts", found.doubts},
          {"regions", std::move(regions)}};
}

}  // namespace eelsvae
