// What clients send, whole and damaged.

#include "io/serve/messages.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "kernels/philox.h"

namespace eelsvae {
namespace {

using nlohmann::json;

std::string cbor(const json& message) {
  return encoded(message);
}
std::span<const std::byte> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

json start() {
  return {{"type", "start"},   {"version", 1},      {"series", "film"},
          {"shape", {3, 5}},   {"channels", 4},     {"energy_offset", 420},
          {"dispersion", 0.3}, {"dtype", "uint16"}, {"title", "a\nfilm"}};
}
json block(size_t bytes = 16) {
  return {{"type", "block"}, {"series", "film"}, {"number", 7},
          {"first", 2},      {"count", 2},       {"data", json::binary(std::vector<uint8_t>(bytes, 1))}};
}

std::string refusal(const std::string& message) {
  try {
    parse_client_message(bytes_of(message));
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}
std::string refusal_with(const std::string& key, const json& value) {
  json message = start();
  message[key] = value;
  return refusal(cbor(message));
}

TEST(Messages, StartSaysWhatComes) {
  json message = start();
  message["rate"] = 1000;
  message["resume"] = true;
  message["excluded"] = json::binary(std::vector<uint8_t>{0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
  message["a key of a later version"] = {{"a", {1, nullptr, 2.5}}};
  const std::string bytes = cbor(message);
  const auto parsed = std::get<StartMessage>(parse_client_message(bytes_of(bytes)));
  EXPECT_EQ(parsed.series, "film");
  EXPECT_EQ(parsed.title, "a film");
  EXPECT_EQ(parsed.plan.height, 3);
  EXPECT_EQ(parsed.plan.width, 5);
  EXPECT_EQ(parsed.plan.energy.size, 4);
  EXPECT_EQ(parsed.plan.energy.offset, 420);
  EXPECT_EQ(parsed.plan.energy.scale, 0.3);
  EXPECT_EQ(parsed.type, ElementType::uint16);
  EXPECT_EQ(parsed.rate, 1000);
  EXPECT_TRUE(parsed.resume);
  EXPECT_EQ(parsed.plan.excluded, (std::vector<uint8_t>{0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}));
}

TEST(Messages, BlockIsNotCopied) {
  const std::string bytes = cbor(block());
  const auto parsed = std::get<BlockMessage>(parse_client_message(bytes_of(bytes)));
  EXPECT_EQ(parsed.number, 7);
  EXPECT_EQ(parsed.first, 2);
  EXPECT_EQ(parsed.count, 2);
  EXPECT_EQ(parsed.data.bytes.size(), 16u);
  EXPECT_GE(reinterpret_cast<const char*>(parsed.data.bytes.data()), bytes.data());
  EXPECT_LE(reinterpret_cast<const char*>(parsed.data.bytes.data() + 16), bytes.data() + bytes.size());
  EXPECT_EQ(spectra_of(parsed, ElementType::uint16, 4), std::vector<float>(8, 257));
}

TEST(Messages, BytesAreAsManyAsPixelsNeed) {
  const std::string bytes = cbor(block());
  const auto parsed = std::get<BlockMessage>(parse_client_message(bytes_of(bytes)));
  EXPECT_NO_THROW(spectra_of(parsed, ElementType::float64, 1));
  EXPECT_THROW(spectra_of(parsed, ElementType::uint16, 5), UserError);
  EXPECT_THROW(spectra_of(parsed, ElementType::uint16, 3), UserError);
  EXPECT_THROW(spectra_of(parsed, ElementType::float64, most_channels), UserError);
}

TEST(Messages, TagsOfArraysAreThoseOfTheirTypes) {
  json tagged = block();
  tagged["data"] = json::binary(std::vector<uint8_t>(16, 1), 69);  // uint16, little-endian
  const std::string bytes = cbor(tagged);
  const auto parsed = std::get<BlockMessage>(parse_client_message(bytes_of(bytes)));
  EXPECT_NO_THROW(spectra_of(parsed, ElementType::uint16, 4));
  EXPECT_THROW(spectra_of(parsed, ElementType::int16, 4), UserError);
}

TEST(Messages, RefusalsNameTheKey) {
  EXPECT_EQ(
      refusal_with("version", 2),
      "start: version: this service speaks version 1, the client 2; take the client file that came with it");
  EXPECT_EQ(refusal_with("shape", {3}), "start: shape: not [y, x]");
  EXPECT_EQ(refusal_with("shape", {1 << 20, 1 << 20}),
            "start: shape: (1048576, 1048576) is not a scan of 1 to 16777216 pixels");
  EXPECT_NE(refusal_with("shape", {-1, -1}), "");
  EXPECT_NE(refusal_with("shape", {INT64_MAX, INT64_MAX}), "");
  EXPECT_EQ(refusal_with("channels", 65536), "");  // five of them in a row are fine
  json wide = start();
  wide["shape"] = {2, 1 << 23};
  EXPECT_EQ(refusal(cbor(wide)),
            "start: shape: rows of 8388608 spectra of 4 channels have more than 16777216 numbers");
  EXPECT_EQ(refusal_with("channels", 0), "start: channels: 0 is not within 1 and 65536");
  EXPECT_TRUE(refusal_with("channels", "many").starts_with("start: channels: no integer (byte "));
  EXPECT_EQ(refusal_with("dispersion", 0), "start: dispersion: not positive (eV per channel)");
  EXPECT_TRUE(refusal_with("dispersion", NAN).starts_with("start: dispersion: no finite number (byte "));
  EXPECT_EQ(refusal_with("dtype", "complex64"),
            "start: dtype: 'complex64' is no type of counts; 'uint16' or 'float32', say");
  EXPECT_EQ(refusal_with("excluded", json::binary({1, 2})),
            "start: excluded: 2 bytes for a scan of (3, 5); a byte for each pixel");
  EXPECT_EQ(refusal_with("rate", -1), "start: rate: not positive (spectra/s)");
  EXPECT_TRUE(refusal_with("resume", 1).starts_with("start: resume: no true or false (byte "));
  EXPECT_EQ(refusal_with("series", std::string(101, 'a')), "start: series: longer than 100 bytes");
  EXPECT_NE(refusal_with("series", "a\nb"), "");
  EXPECT_EQ(refusal_with("series", nullptr), "start: series is missing");
  EXPECT_EQ(refusal_with("type", "stop"),
            "type: 'stop' is none of start, block, end, status, watch, beat, leave");
  json message = block();
  message["first"] = -1;
  EXPECT_NE(refusal(cbor(message)), "");
  message = block();
  message["count"] = 0;
  EXPECT_NE(refusal(cbor(message)), "");
}

TEST(Messages, WhatIsNoMessageIsRefused) {
  EXPECT_EQ(refusal(""), "not a message of this protocol: no map (byte 0)");
  EXPECT_NE(refusal("\x01"), "");
  EXPECT_NE(refusal(cbor({1, 2})), "");
  EXPECT_NE(refusal(cbor(start()) + "x"), "");
  // {"type": [[[...]]]}
  EXPECT_EQ(refusal("\xa1\x64type" + std::string(1 << 20, '\x81')),
            "not a message of this protocol: items nested too deep (byte 39)");
  // Lengths that nothing can have: bytes, a text, an array, a map, a map at the top.
  for (const char* head : {"\x5b", "\x7b", "\x9b", "\xbb"})
    EXPECT_NE(refusal("\xa1\x64type" + std::string(head) + "\x7f" + std::string(7, '\xff')), "");
  EXPECT_EQ(refusal("\xbb" + std::string(8, '\xff')),
            "not a message of this protocol: it ends too early (byte 9)");
  EXPECT_NE(refusal("\xbf\xff"), "");
  EXPECT_EQ(refusal("\xa2\x64type\x64"
                    "beat\x64type\x64"
                    "beat"),
            "not a message of this protocol: type: comes twice (byte 16)");
}

// Nothing is made of what nobody asks for, and little of it is read.
TEST(Messages, ManyItemsAreRefusedWithoutReadingThem) {
  const std::string million("\x9a\x00\xff\xff\x00", 5), integers(0xffff00, '\x01');
  const std::string other =
      "\xa2\x64type\x64"
      "beat\x61x" +
      million + integers;
  EXPECT_EQ(refusal(other), "not a message of this protocol: too many items (byte 4109)");
  json wide = start();
  wide["shape"] = std::vector<int>(100, 1);
  EXPECT_TRUE(refusal(cbor(wide)).starts_with("start: shape: more than 2 integers")) << refusal(cbor(wide));
}

// Every beginning of a message, and every message with another byte in a place, is taken or refused.
TEST(Messages, DamageIsRefusedOrHarmless) {
  int64_t taken = 0;
  for (const json& whole : {start(), block()}) {
    const std::string bytes = cbor(whole);
    for (size_t size = 0; size < bytes.size(); ++size) EXPECT_NE(refusal(bytes.substr(0, size)), "") << size;
    for (size_t place = 0; place < bytes.size(); ++place)
      for (int other = 0; other < 256; ++other) {
        std::string damaged = bytes;
        damaged[place] = static_cast<char>(other);
        try {
          const ClientMessage parsed = parse_client_message(bytes_of(damaged));
          if (const auto* found = std::get_if<BlockMessage>(&parsed))
            spectra_of(*found, ElementType::uint16, 4);
          ++taken;
        } catch (const UserError&) {
        }
      }
  }
  EXPECT_GT(taken, 0);
}

// Numbers of all widths, as another encoder writes them.
TEST(Messages, NumbersAreThoseThatWereWritten) {
  constexpr std::array<std::string_view, 1> v = {"v"};
  for (const int64_t value :
       {int64_t{0}, int64_t{23}, int64_t{24}, int64_t{255}, int64_t{256}, int64_t{65536}, int64_t{1} << 33,
        INT64_MAX, int64_t{-1}, int64_t{-25}, int64_t{-70000}, INT64_MIN}) {
    const std::string bytes = cbor({{"v", value}});
    EXPECT_EQ(CborFields(bytes_of(bytes), v).integer("v"), value);
  }
  for (const double value : {0.5, -1e300, 0.1, 65504.0, 1e-40}) {
    const std::string bytes = cbor({{"v", value}});
    EXPECT_EQ(CborFields(bytes_of(bytes), v).number("v"), value);
  }
  const std::string half("\xa1\x61v\xf9\x3e\x00", 6);
  EXPECT_EQ(CborFields(bytes_of(half), v).number("v"), 1.5);
  const std::string too_large("\xa1\x61v\x1b\xff\xff\xff\xff\xff\xff\xff\xff", 12);
  EXPECT_THROW(CborFields(bytes_of(too_large), v).integer("v"), BadCbor);
}

TEST(Messages, ScoresAreBytesWithTheirTag) {
  const std::vector<float> scores = {1.5f, NAN};
  const std::string bytes = cbor({{"scores", float_bytes(scores)}});
  constexpr std::array<std::string_view, 1> names = {"scores"};
  const CborFields map(bytes_of(bytes), names);
  ASSERT_EQ(map.bytes("scores").bytes.size(), 8u);
  EXPECT_EQ(map.bytes("scores").tag, 85u);
  EXPECT_EQ(std::memcmp(map.bytes("scores").bytes.data(), scores.data(), 8), 0);
}

}  // namespace
}  // namespace eelsvae
