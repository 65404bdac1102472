#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace eelsvae {

// Reads a CBOR message (RFC 8949) from its beginning to its end, an item after the other, as who reads
// expects them. Texts and bytes are not copied: they lie in the message. Every function throws BadMessage,
// which says at which byte, where the next item is not what it reads or the message ends too early.
class CborReader {
 public:
  // From the item at byte `position` on.
  explicit CborReader(std::span<const std::byte> message, size_t position = 0)
      : message_(message), at_(position) {}

  uint64_t unsigned_integer();
  double number();  // an integer or a float, finite
  std::string_view text();
  std::span<const std::byte> bytes();
  bool at_text() const { return major() == 3; }
  bool at_tag() const { return major() == 6; }
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
  double floating(const Head& head) const;
  void skip_strings(int major);
  void skip(int depth);
  nlohmann::json value(int depth);
  [[noreturn]] void fail(const std::string& what) const;

  std::span<const std::byte> message_;
  size_t at_;
};

}  // namespace eelsvae
