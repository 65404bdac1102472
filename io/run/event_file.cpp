#include "io/run/event_file.h"

#include <bit>
#include <chrono>

#include "io/terminal/run_log.h"

namespace eelsvae {
namespace {

static_assert(std::endian::native == std::endian::little, "files and protocol buffers are little-endian");

template <typename T>
std::string bytes_of(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// CRC-32C (Castagnoli), turned and shifted so that a checksum of data that hold checksums is sound.
uint32_t masked_checksum(const std::string& bytes) {
  uint32_t checksum = 0xffffffff;
  for (const unsigned char byte : bytes) {
    checksum ^= byte;
    for (int bit = 0; bit < 8; ++bit) checksum = (checksum >> 1) ^ (checksum & 1 ? 0x82f63b78 : 0);
  }
  return std::rotr(~checksum, 15) + 0xa282ead8;
}

// Fields of protocol buffers: their number and the kind of their value, then the value. The numbers are those
// of TensorFlow's event.proto and summary.proto.
std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes += static_cast<char>(value | 128);
  return bytes + static_cast<char>(value);
}
std::string field(uint64_t number, int64_t value) {
  return varint(8 * number) + varint(static_cast<uint64_t>(value));
}
std::string field(uint64_t number, double value) {
  return varint(8 * number + 1) + bytes_of(value);
}
std::string field(uint64_t number, float value) {
  return varint(8 * number + 5) + bytes_of(value);
}
std::string field(uint64_t number, const std::string& bytes) {
  return varint(8 * number + 2) + varint(bytes.size()) + bytes;
}

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

constexpr char name_start[] = "events.out.tfevents.";

}  // namespace

std::string event_record(const std::string& data) {
  const std::string length = bytes_of(uint64_t{data.size()});
  return length + bytes_of(masked_checksum(length)) + data + bytes_of(masked_checksum(data));
}

void EventFile::add(int64_t step, const std::vector<std::pair<std::string, double>>& values) {
  const double now = seconds_since_1970();
  std::string records;
  std::filesystem::path path = path_;
  if (path.empty()) {
    auto seconds = static_cast<int64_t>(now);
    do path = folder_ / (name_start + std::to_string(seconds++) + ".eelsvae");
    while (std::filesystem::exists(path));  // of a run that ended within this second
    records = event_record(field(1, now) + field(3, std::string("brain.Event:2")));
    // A start: what came before from this step on no longer counts.
    records += event_record(field(1, now) + field(2, step) + field(7, field(1, int64_t{1})));
  }
  std::string summary;
  for (const auto& [name, value] : values)
    summary += field(1, field(1, name) + field(2, static_cast<float>(value)));
  records += event_record(field(1, now) + field(2, step) + field(5, summary));
  append_bytes(path, records);
  path_ = path;
}

bool EventFile::is_one(const std::filesystem::path& path) {
  return path.filename().string().starts_with(name_start);
}

}  // namespace eelsvae
