#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/detect/detection.h"
#include "io/files/cbor_reader.h"
#include "io/files/element_type.h"
#include "io/serve/live_scan.h"

namespace eelsvae {

// What clients and service send each other: CBOR maps, one a message, of which `type` says the kind.
// docs/live.md has every key.

inline constexpr int64_t protocol_version = 1;
inline constexpr size_t largest_message = size_t{16} << 20;  // bytes; larger ones close the connection
inline constexpr int64_t most_scan_pixels = int64_t{1} << 24;
inline constexpr int64_t most_row_spectra = int64_t{1} << 20;  // rows are told whole
inline constexpr int64_t most_row_numbers = int64_t{1} << 24;  // of all spectra of a row; rows are kept
inline constexpr int64_t most_channels = int64_t{1} << 16;
inline constexpr size_t longest_series = 100;  // bytes
inline constexpr double beat_seconds = 0.4;    // both sides send something at least so often
inline constexpr double lost_seconds = 1.5;    // and take a silence of so long for a loss

// Begins a scan, or goes on with one.
struct StartMessage {
  std::string series;  // names the scan
  std::string title;   // for people
  ScanPlan plan;
  ElementType type = ElementType::float32;
  std::optional<double> rate;      // that will come, spectra/s
  std::optional<double> may_come;  // of a detector, at most; it is not in the message
  bool resume = false;             // go on where this series is known
};
// Spectra of the pixels first, first + 1, ...; data lie in the message.
struct BlockMessage {
  std::string_view series;
  int64_t number = 0;  // of the block, from 0 on in each connection's start
  int64_t first = 0, count = 0;
  CborReader::TaggedBytes data;
};
struct EndMessage {
  std::string series;
};
struct StatusMessage {};
struct WatchMessage {};
struct BeatMessage {};
struct LeaveMessage {};
using ClientMessage = std::variant<StartMessage, BlockMessage, EndMessage, StatusMessage, WatchMessage,
                                   BeatMessage, LeaveMessage>;

// UserError where a scan is empty, or larger than the above.
void check_scan_size(int64_t height, int64_t width, int64_t channels);

// UserError, a line for who sent it.
ClientMessage parse_client_message(std::span<const std::byte> message);

// The numbers of a block as floats, of `channels` each. UserError where their bytes are not as many as the
// pixels need, or are tagged as another type's (RFC 8746).
std::vector<float> spectra_of(const BlockMessage& block, ElementType type, int64_t channels);

// Bytes of a message to a client.
std::string encoded(const nlohmann::json& message);

// Floats as a client gets them: bytes, little-endian, tagged as such (RFC 8746).
nlohmann::json float_bytes(std::span<const float> values);

nlohmann::json error_message(const std::string& line);
nlohmann::json counts_message(const ScanCounts& counts);
// Of the 200 regions with the highest scores; pixel counts, places (y, x in pixels), highest scores.
nlohmann::json regions_message(const Detection& found, int64_t width);

}  // namespace eelsvae
