#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace eelsvae {

// A message that somebody sent: a CBOR map (RFC 8949) whose keys are texts. Its values are read one by one,
// as what the reader expects them to be; keys that nobody asks for are let pass, so that later versions may
// add some. Texts and bytes lie in the message and live as long as it.
//
// Taken are integers, floats of 16, 32 and 64 bits, texts, byte strings with or without a tag, true, false,
// null, and arrays of such, eight deep; lengths stand before what they count. Nothing is allocated for a
// length that the message does not have.
class CborMap {
 public:
  // UserError, a line that says what is wrong and at which byte.
  explicit CborMap(std::span<const std::byte> message);

  bool has(std::string_view key) const;  // null counts as absent
  // UserError "KEY is missing" or "KEY: not WHAT".
  int64_t integer(std::string_view key) const;
  double number(std::string_view key) const;  // integer or float, finite
  std::string_view text(std::string_view key) const;
  bool flag(std::string_view key, bool if_absent) const;
  std::vector<int64_t> integers(std::string_view key) const;
  struct Bytes {
    std::span<const std::byte> bytes;
    std::optional<uint64_t> tag;  // RFC 8746 has those of arrays
  };
  Bytes bytes(std::string_view key) const;

 private:
  struct Other {};  // is there, and of no use to anybody
  using Value = std::variant<std::monostate, bool, int64_t, double, std::string_view, Bytes,
                             std::vector<int64_t>, Other>;
  class Reader;
  const Value& value(std::string_view key) const;

  std::vector<std::pair<std::string_view, Value>> entries_;
};

}  // namespace eelsvae
