#include "io/run/event_file.h"

#include <isa-l/crc.h>

#include <bit>
#include <chrono>
#include <cstring>

#include "event.pb.h"
#include "io/terminal/run_log.h"

namespace eelsvae {
namespace {

using tensorboard::Event;

static_assert(std::endian::native == std::endian::little, "lengths and checksums are little-endian");

template <typename T>
std::string bytes_of(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// CRC-32C (Castagnoli), turned and shifted so that a checksum of data that hold checksums is sound.
uint32_t masked_checksum(std::string bytes) {
  const uint32_t checksum = ~crc32_iscsi(reinterpret_cast<unsigned char*>(bytes.data()),
                                         static_cast<int>(bytes.size()), 0xffffffff);
  return std::rotr(checksum, 15) + 0xa282ead8;
}

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string record_of(Event event, double wall_time) {
  event.set_wall_time(wall_time);
  return event_record(event.SerializeAsString());
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
    Event version, start;
    version.set_file_version("brain.Event:2");
    start.set_step(step);
    start.mutable_session_log()->set_status(tensorboard::SessionLog::START);
    records += record_of(version, now) + record_of(start, now);
  }
  Event event;
  event.set_step(step);
  for (const auto& [name, value] : values) {
    tensorboard::Summary::Value& point = *event.mutable_summary()->add_value();
    point.set_tag(name);
    point.set_simple_value(static_cast<float>(value));
  }
  append_bytes(path, records + record_of(event, now));
  path_ = path;
}

bool EventFile::is_one(const std::filesystem::path& path) {
  return path.filename().string().starts_with(name_start);
}

}  // namespace eelsvae
