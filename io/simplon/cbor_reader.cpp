#include "io/simplon/cbor_reader.h"

#include <bit>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "io/files/message_text.h"
#include "io/simplon/frame_sum.h"

namespace eelsvae {
namespace {

constexpr int deepest = 32;

double half(uint64_t bits) {
  const auto exponent = static_cast<int>(bits >> 10 & 31);
  const auto mantissa = static_cast<double>(bits & 1023);
  const double value = exponent == 31
                           ? (mantissa == 0 ? std::numeric_limits<double>::infinity() : std::nan(""))
                       : exponent == 0 ? std::ldexp(mantissa, -24)
                                       : std::ldexp(mantissa + 1024, exponent - 25);
  return bits >> 15 & 1 ? -value : value;
}

}  // namespace

void CborReader::fail(const std::string& what) const {
  throw BadMessage("the CBOR message: " + what + " at byte " + std::to_string(at_));
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
  const int first = std::to_integer<int>(take(1)[0]);
  Head head = {first >> 5, first & 31, 0};
  if (head.info < 24) {
    head.argument = static_cast<uint64_t>(head.info);
  } else if (head.info < 28) {
    for (const std::byte byte : take(uint64_t{1} << (head.info - 24)))
      head.argument = head.argument << 8 | std::to_integer<uint64_t>(byte);
  } else if (head.info != indefinite) {
    fail("no item that begins so");
  }
  return head;
}

CborReader::Head CborReader::head_of(int expected, const char* what) {
  if (major() != expected) fail(std::string("no ") + what);
  return head();
}

uint64_t CborReader::unsigned_integer() {
  const Head read = head_of(0, "unsigned integer");
  if (read.info == indefinite) fail("an integer without end");
  return read.argument;
}

double CborReader::floating(const Head& read) const {
  switch (read.info) {
    case 25:
      return half(read.argument);
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
  if (read.major != 7 && read.info == indefinite) fail("an integer without end");
  const double value = read.major == 0   ? static_cast<double>(read.argument)
                       : read.major == 1 ? -1 - static_cast<double>(read.argument)
                                         : floating(read);
  if (!std::isfinite(value)) fail("a number that is not finite");
  return value;
}

std::string_view CborReader::text() {
  const Head read = head_of(3, "text");
  if (read.info == indefinite) fail("a text in pieces");
  const auto characters = take(read.argument);
  return {reinterpret_cast<const char*>(characters.data()), characters.size()};
}

std::span<const std::byte> CborReader::bytes() {
  const Head read = head_of(2, "byte string");
  if (read.info == indefinite) fail("a byte string in pieces");
  return take(read.argument);
}

uint64_t CborReader::tag() {
  const Head read = head_of(6, "tag");
  if (read.info == indefinite) fail("a tag without number");
  return read.argument;
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

}  // namespace eelsvae
