#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/error.h"

namespace eelsvae {

// CBOR that is damaged, or is not what its reader expects; one line.
class BadCbor : public UserError {
 public:
  using UserError::UserError;
};

// Reads a CBOR message (RFC 8949) from its beginning to its end, an item after the other, as who reads
// expects them. Texts and bytes are not copied: they lie in the message. Every function throws BadCbor, which
// says at which byte, where the next item is not what it reads or the message ends too early.
class CborReader {
 public:
  static constexpr uint64_t any_number = std::numeric_limits<uint64_t>::max();

  // From the item at byte `position` on. Who reads or skips more than `most_items` is refused, so that long
  // arrays in a message take no time.
  explicit CborReader(std::span<const std::byte> message, size_t position = 0,
                      uint64_t most_items = any_number)
      : message_(message), at_(position), items_left_(most_items) {}

  uint64_t unsigned_integer();
  int64_t integer();  // of either sign
  double number();    // an integer or a float, finite
  bool boolean();
  std::string_view text();
  std::span<const std::byte> bytes();
  struct TaggedBytes {
    std::span<const std::byte> bytes;
    std::optional<uint64_t> tag;  // RFC 8746 has those of arrays
  };
  TaggedBytes tagged_bytes();
  bool at_text() const { return major() == 3; }
  bool at_tag() const { return major() == 6; }
  bool at_null() const;  // or undefined
  uint64_t tag();

  // Goes through an array or a map: `while (items.next())` once for each item or pair, which has to be read
  // or skipped.
  class Items {
   public:
    bool next();

   private:
    friend class CborReader;
    Items(CborReader& reader, std::optional<uint64_t> left) : reader_(reader), left_(left) {}
    CborReader& reader_;
    std::optional<uint64_t> left_;  // nothing: until there is a break
  };
  Items array();
  Items map();

  // An item of any kind, nested up to 32 deep.
  void skip();
  // The same, as JSON: bytes and what has no place in JSON become null, tags are left out.
  nlohmann::json value();

  size_t position() const { return at_; }
  bool at_end() const { return at_ == message_.size(); }

  // BadCbor with the present byte.
  [[noreturn]] void fail(const std::string& what) const;

 private:
  struct Head {
    int major;
    int info;           // the lower five bits
    uint64_t argument;  // 0 where there is none
  };
  static constexpr int indefinite = 31;

  int major() const;  // of the next item; -1 at the end
  Head head();
  Head head_of(int major, const char* what);
  std::span<const std::byte> take(uint64_t size);
  std::span<const std::byte> string_of(int major, const char* what);
  double floating(const Head& head) const;
  void skip_strings(int major);
  void skip(int depth);
  nlohmann::json value(int depth);

  std::span<const std::byte> message_;
  size_t at_;
  uint64_t items_left_;
};

// A CBOR message that is a map: where the values of those keys lie that its reader knows. Other keys are let
// pass, so that later versions may add some, and nothing is made of their values.
class CborFields {
 public:
  // `names` have to live as long as this. BadCbor where it is no map, where it has one of the names twice or
  // more than `most_items` items, or something follows it.
  CborFields(std::span<const std::byte> message, std::span<const std::string_view> names,
             uint64_t most_items = CborReader::any_number);

  bool has(std::string_view name) const;  // null counts as absent
  // At the value. BadCbor "NAME is missing".
  CborReader at(std::string_view name) const;
  // The same, and BadCbor "NAME: no WHAT" where the value is something else.
  int64_t integer(std::string_view name) const;
  double number(std::string_view name) const;
  std::string_view text(std::string_view name) const;
  bool flag(std::string_view name, bool if_absent) const;
  std::vector<int64_t> integers(std::string_view name, size_t most) const;
  CborReader::TaggedBytes bytes(std::string_view name) const;

 private:
  size_t place(std::string_view name) const;

  std::span<const std::byte> message_;
  std::span<const std::string_view> names_;
  uint64_t most_items_;
  std::vector<size_t> places_;  // of the names' values; 0: absent
};

}  // namespace eelsvae
