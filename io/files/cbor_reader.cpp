#include "io/files/cbor_reader.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "io/files/element_type.h"
#include "io/files/message_text.h"

namespace eelsvae {
namespace {

constexpr int deepest = 32;

// What `read` makes of the value, with its name in what is wrong.
template <class Read>
auto named(std::string_view name, CborReader reader, const Read& read) {
  try {
    return read(reader);
  } catch (const BadCbor& error) {
    throw BadCbor(std::string(name) + ": " + error.what());
  }
}

}  // namespace

void CborReader::fail(const std::string& what) const {
  throw BadCbor(what + " (byte " + std::to_string(at_) + ")");
}

int CborReader::major() const {
  return at_end() ? -1 : std::to_integer<int>(message_[at_]) >> 5;
}

std::span<const std::byte> CborReader::take(uint64_t size) {
  if (size > message_.size() - at_) fail("it ends too early");
  const auto taken = message_.subspan(at_, size);
  at_ += size;
  return taken;
}

CborReader::Head CborReader::head() {
  if (items_left_ == 0) fail("too many items");
  --items_left_;
  const int first = std::to_integer<int>(take(1)[0]);
  Head head = {first >> 5, first & 31, 0};
  if (head.info < 24) {
    head.argument = static_cast<uint64_t>(head.info);
  } else if (head.info < 28) {
    for (const std::byte byte : take(uint64_t{1} << (head.info - 24)))
      head.argument = head.argument << 8 | std::to_integer<uint64_t>(byte);
  } else if (head.info != indefinite || head.major < 2 || head.major == 6) {
    fail("no item that begins so");
  }
  return head;
}

CborReader::Head CborReader::head_of(int expected, const char* what) {
  if (major() != expected) fail(std::string("no ") + what);
  return head();
}

uint64_t CborReader::unsigned_integer() {
  return head_of(0, "unsigned integer").argument;
}

int64_t CborReader::integer() {
  if (major() != 0 && major() != 1) fail("no integer");
  const Head read = head();
  if (read.argument >> 63) fail("an integer of more than 64 bits");
  const auto value = static_cast<int64_t>(read.argument);
  return read.major == 0 ? value : -1 - value;
}

double CborReader::floating(const Head& read) const {
  switch (read.info) {
    case 25:
      return half_to_float(static_cast<uint16_t>(read.argument));
    case 26:
      return std::bit_cast<float>(static_cast<uint32_t>(read.argument));
    case 27:
      return std::bit_cast<double>(read.argument);
    default:
      fail("no number");
  }
}

double CborReader::number() {
  if (major() != 0 && major() != 1 && major() != 7) fail("no number");
  const Head read = head();
  const double value = read.major == 0   ? static_cast<double>(read.argument)
                       : read.major == 1 ? -1 - static_cast<double>(read.argument)
                                         : floating(read);
  if (!std::isfinite(value)) fail("no finite number");
  return value;
}

bool CborReader::boolean() {
  const Head read = head_of(7, "true or false");
  if (read.info != 20 && read.info != 21) fail("no true or false");
  return read.info == 21;
}

bool CborReader::at_null() const {
  return !at_end() && (message_[at_] == std::byte{0xf6} || message_[at_] == std::byte{0xf7});
}

std::span<const std::byte> CborReader::string_of(int expected, const char* what) {
  const Head read = head_of(expected, what);
  if (read.info == indefinite) fail(std::string("a ") + what + " in pieces");
  return take(read.argument);
}

std::string_view CborReader::text() {
  const auto characters = string_of(3, "text");
  return {reinterpret_cast<const char*>(characters.data()), characters.size()};
}

std::span<const std::byte> CborReader::bytes() {
  return string_of(2, "byte string");
}

CborReader::TaggedBytes CborReader::tagged_bytes() {
  TaggedBytes result;
  if (at_tag()) result.tag = tag();
  result.bytes = bytes();
  return result;
}

uint64_t CborReader::tag() {
  return head_of(6, "tag").argument;
}

CborReader::Items CborReader::array() {
  const Head read = head_of(4, "array");
  return {*this, read.info == indefinite ? std::nullopt : std::optional(read.argument)};
}

CborReader::Items CborReader::map() {
  const Head read = head_of(5, "map");
  return {*this, read.info == indefinite ? std::nullopt : std::optional(read.argument)};
}

bool CborReader::Items::next() {
  if (left_) return *left_ > 0 && (--*left_, true);
  if (reader_.major() == -1) reader_.fail("it ends too early");
  if (reader_.message_[reader_.at_] != std::byte{0xff}) return true;
  ++reader_.at_;
  left_ = 0;
  return false;
}

// The pieces of a text or of bytes, up to the break behind them.
void CborReader::skip_strings(int expected) {
  while (true) {
    const Head piece = head();
    if (piece.major == 7 && piece.info == indefinite) return;
    if (piece.major != expected || piece.info == indefinite) fail("no piece of a string");
    take(piece.argument);
  }
}

void CborReader::skip() {
  skip(0);
}

void CborReader::skip(int depth) {
  if (depth > deepest) fail("items nested too deep");
  while (at_tag()) tag();
  switch (major()) {
    case 2:
    case 3: {
      const Head read = head();
      if (read.info == indefinite) return skip_strings(read.major);
      take(read.argument);
      return;
    }
    case 4:
      for (Items items = array(); items.next();) skip(depth + 1);
      return;
    case 5:
      for (Items pairs = map(); pairs.next();) {
        skip(depth + 1);
        skip(depth + 1);
      }
      return;
    default:
      if (head().info == indefinite) fail("a break without beginning");
  }
}

nlohmann::json CborReader::value() {
  return value(0);
}

nlohmann::json CborReader::value(int depth) {
  using nlohmann::json;
  if (depth > deepest) fail("items nested too deep");
  while (at_tag()) tag();
  switch (major()) {
    case 0:
      return unsigned_integer();
    case 1:
      return number();
    case 3: {
      const size_t begin = at_;
      const Head read = head();
      at_ = begin;
      if (read.info == indefinite) break;
      return utf8_text(text());
    }
    case 4: {
      json list = json::array();
      for (Items items = array(); items.next();) list.push_back(value(depth + 1));
      return list;
    }
    case 5: {
      json object = json::object();
      for (Items pairs = map(); pairs.next();) {
        if (!at_text()) {
          skip(depth + 1);
          skip(depth + 1);
          continue;
        }
        const std::string key = utf8_text(text());
        object[key] = value(depth + 1);
      }
      return object;
    }
    case 7: {
      const Head read = head();
      if (read.info == indefinite) fail("a break without beginning");
      if (read.info == 20 || read.info == 21) return read.info == 21;
      if (read.info < 25) return nullptr;
      const double number = floating(read);
      return std::isfinite(number) ? json(number) : json();
    }
    default:
      break;
  }
  skip(depth);
  return nullptr;
}

CborFields::CborFields(std::span<const std::byte> message, std::span<const std::string_view> names,
                       uint64_t most_items)
    : message_(message), names_(names), most_items_(most_items), places_(names.size()) {
  CborReader reader(message, 0, most_items);
  while (reader.at_tag()) reader.tag();
  for (auto pairs = reader.map(); pairs.next(); reader.skip()) {
    if (!reader.at_text()) {
      reader.skip();
      continue;
    }
    const auto found = std::ranges::find(names, reader.text());
    if (found == names.end()) continue;
    size_t& place = places_[static_cast<size_t>(found - names.begin())];
    if (place > 0) reader.fail(std::string(*found) + ": comes twice");
    place = reader.position();
  }
  if (!reader.at_end()) reader.fail("something follows the map");
}

size_t CborFields::place(std::string_view name) const {
  const auto found = std::ranges::find(names_, name);
  expect(found != names_.end(), "the name of a field");
  const size_t place = places_[static_cast<size_t>(found - names_.begin())];
  return place > 0 && CborReader(message_, place).at_null() ? 0 : place;
}

bool CborFields::has(std::string_view name) const {
  return place(name) > 0;
}

CborReader CborFields::at(std::string_view name) const {
  const size_t begin = place(name);
  if (begin == 0) throw BadCbor(std::string(name) + " is missing");
  return CborReader(message_, begin, most_items_);
}

int64_t CborFields::integer(std::string_view name) const {
  return named(name, at(name), [](CborReader& reader) { return reader.integer(); });
}

double CborFields::number(std::string_view name) const {
  return named(name, at(name), [](CborReader& reader) { return reader.number(); });
}

std::string_view CborFields::text(std::string_view name) const {
  return named(name, at(name), [](CborReader& reader) { return reader.text(); });
}

bool CborFields::flag(std::string_view name, bool if_absent) const {
  if (!has(name)) return if_absent;
  return named(name, at(name), [](CborReader& reader) { return reader.boolean(); });
}

std::vector<int64_t> CborFields::integers(std::string_view name, size_t most) const {
  return named(name, at(name), [most](CborReader& reader) {
    std::vector<int64_t> integers;
    for (auto items = reader.array(); items.next(); integers.push_back(reader.integer()))
      if (integers.size() == most) reader.fail("more than " + std::to_string(most) + " integers");
    return integers;
  });
}

CborReader::TaggedBytes CborFields::bytes(std::string_view name) const {
  return named(name, at(name), [](CborReader& reader) { return reader.tagged_bytes(); });
}

}  // namespace eelsvae
