#include "io/serve/cbor.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "io/files/element_type.h"
#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr int deepest = 8;
constexpr size_t most_keys = 64;

}  // namespace

class CborMap::Reader {
 public:
  explicit Reader(std::span<const std::byte> message) : message_(message) {}

  std::vector<std::pair<std::string_view, Value>> map() {
    const Head head = next();
    if (head.major != 5) refuse("a message is a map");
    if (head.argument > most_keys) refuse("more than " + std::to_string(most_keys) + " keys");
    std::vector<std::pair<std::string_view, Value>> entries;
    for (uint64_t i = 0; i < head.argument; ++i) {
      const Head key = next();
      if (key.major != 3) refuse("a key is a text");
      const std::string_view name = text(key);
      for (const auto& [other, value] : entries)
        if (other == name) refuse("the key '" + one_line(name) + "' comes twice");
      entries.emplace_back(name, value(1));
    }
    if (place_ != message_.size()) refuse("more follows behind the map");
    return entries;
  }

 private:
  struct Head {
    int major = 0, minor = 0;
    uint64_t argument = 0;
  };

  [[noreturn]] void refuse(const std::string& what) const {
    throw UserError("not a message of this protocol: " + what + " (byte " + std::to_string(place_) + ")");
  }

  // The first bytes of an item.
  Head next() {
    if (place_ >= message_.size()) refuse("it ends too early");
    const auto first = static_cast<int>(message_[place_++]);
    Head head{first >> 5, first & 31, 0};
    if (head.minor < 24) {
      head.argument = static_cast<uint64_t>(head.minor);
      return head;
    }
    if (head.minor == 31) refuse("lengths have to stand before what they count");
    if (head.minor > 27) refuse("no such item");
    const size_t size = size_t{1} << (head.minor - 24);
    if (message_.size() - place_ < size) refuse("it ends too early");
    for (size_t i = 0; i < size; ++i)
      head.argument = head.argument << 8 | static_cast<uint64_t>(message_[place_++]);
    return head;
  }

  std::span<const std::byte> bytes(const Head& head) {
    if (head.argument > message_.size() - place_) refuse("it ends too early");
    const std::span<const std::byte> found = message_.subspan(place_, head.argument);
    place_ += head.argument;
    return found;
  }

  std::string_view text(const Head& head) {
    const std::span<const std::byte> found = bytes(head);
    return {reinterpret_cast<const char*>(found.data()), found.size()};
  }

  int64_t integer(const Head& head) {
    if (head.argument > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      refuse("an integer of more than 64 bits");
    const auto value = static_cast<int64_t>(head.argument);
    return head.major == 0 ? value : -1 - value;
  }

  Value value(int depth) {
    if (depth > deepest) refuse("nested deeper than " + std::to_string(deepest));
    const Head head = next();
    switch (head.major) {
      case 0:
      case 1:
        return integer(head);
      case 2:
        return Bytes{bytes(head), std::nullopt};
      case 3:
        return text(head);
      case 4: {
        if (head.argument > message_.size() - place_) refuse("it ends too early");
        std::vector<int64_t> integers;
        bool others = false;
        for (uint64_t i = 0; i < head.argument; ++i) {
          const Value entry = value(depth + 1);
          if (const int64_t* integer = std::get_if<int64_t>(&entry))
            integers.push_back(*integer);
          else
            others = true;
        }
        if (others) return Other{};
        return integers;
      }
      case 5:
        if (head.argument > message_.size() - place_) refuse("it ends too early");
        for (uint64_t i = 0; i < head.argument; ++i) {
          value(depth + 1);
          value(depth + 1);
        }
        return Other{};
      case 6: {
        Value tagged = value(depth + 1);
        Bytes* found = std::get_if<Bytes>(&tagged);
        if (!found || found->tag) return Other{};
        found->tag = head.argument;
        return tagged;
      }
      default:
        break;
    }
    if (head.minor == 20 || head.minor == 21) return head.minor == 21;
    if (head.minor == 22 || head.minor == 23) return std::monostate{};
    if (head.minor == 25) return static_cast<double>(half_to_float(static_cast<uint16_t>(head.argument)));
    if (head.minor == 26)
      return static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(head.argument)));
    if (head.minor == 27) return std::bit_cast<double>(head.argument);
    refuse("no such item");
  }

  std::span<const std::byte> message_;
  size_t place_ = 0;
};

CborMap::CborMap(std::span<const std::byte> message) : entries_(Reader(message).map()) {}

const CborMap::Value& CborMap::value(std::string_view key) const {
  for (const auto& [name, value] : entries_)
    if (name == key && !std::holds_alternative<std::monostate>(value)) return value;
  throw UserError(std::string(key) + " is missing");
}

bool CborMap::has(std::string_view key) const {
  for (const auto& [name, value] : entries_)
    if (name == key) return !std::holds_alternative<std::monostate>(value);
  return false;
}

int64_t CborMap::integer(std::string_view key) const {
  if (const int64_t* found = std::get_if<int64_t>(&value(key))) return *found;
  throw UserError(std::string(key) + ": not an integer");
}

double CborMap::number(std::string_view key) const {
  const Value& any = value(key);
  if (const int64_t* found = std::get_if<int64_t>(&any)) return static_cast<double>(*found);
  if (const double* found = std::get_if<double>(&any); found && std::isfinite(*found)) return *found;
  throw UserError(std::string(key) + ": not a finite number");
}

std::string_view CborMap::text(std::string_view key) const {
  if (const std::string_view* found = std::get_if<std::string_view>(&value(key))) return *found;
  throw UserError(std::string(key) + ": not a text");
}

bool CborMap::flag(std::string_view key, bool if_absent) const {
  if (!has(key)) return if_absent;
  if (const bool* found = std::get_if<bool>(&value(key))) return *found;
  throw UserError(std::string(key) + ": neither true nor false");
}

std::vector<int64_t> CborMap::integers(std::string_view key) const {
  if (const auto* found = std::get_if<std::vector<int64_t>>(&value(key))) return *found;
  throw UserError(std::string(key) + ": not an array of integers");
}

CborMap::Bytes CborMap::bytes(std::string_view key) const {
  if (const Bytes* found = std::get_if<Bytes>(&value(key))) return *found;
  throw UserError(std::string(key) + ": not bytes");
}

}  // namespace eelsvae
