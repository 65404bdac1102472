#include "io/files/cbor_reader.h"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/io/file_test.h"
#include "tests/io/simplon/detector_messages.h"

namespace eelsvae {
namespace {

using nlohmann::json;

TEST(CborReader, Numbers) {
  const auto number = [](const Bytes& bytes) { return CborReader(as_bytes(bytes)).number(); };
  EXPECT_EQ(number(cbor(0)), 0);
  EXPECT_EQ(number(cbor(1000000)), 1e6);
  EXPECT_EQ(number(cbor_head(1, 99)), -100);
  EXPECT_EQ(number(cbor_number(-4.1)), -4.1);
  // Appendix A of RFC 8949
  EXPECT_EQ(number("\xf9\x3c\x01" + Bytes()), 1.0009765625);
  EXPECT_EQ(number(Bytes("\xf9\x00\x01", 3)), 5.960464477539063e-8);
  EXPECT_EQ(number(Bytes("\xf9\x7b\xff", 3)), 65504);
  EXPECT_EQ(number(Bytes("\xfa\x47\xc3\x50\x00", 5)), 100000);
  for (const Bytes& none :
       {Bytes("\xf9\x7c\x00", 3), Bytes("\xf9\x7e\x00", 3), Bytes("\xf6"), Bytes("\x1c"), Bytes()})
    EXPECT_NE(user_error([&] { number(none); }), "");
}

TEST(CborReader, Integers) {
  const auto integer = [](const Bytes& bytes) { return CborReader(as_bytes(bytes)).integer(); };
  EXPECT_EQ(integer(cbor(INT64_MAX)), INT64_MAX);
  EXPECT_EQ(integer(cbor_head(1, INT64_MAX)), INT64_MIN);
  for (const Bytes& none :
       {cbor(uint64_t{1} << 63), cbor_head(1, uint64_t{1} << 63), cbor_number(1), Bytes()})
    EXPECT_NE(user_error([&] { integer(none); }), "");
}

TEST(CborReader, NullAndUndefinedAreAbsent) {
  for (const auto& [byte, null] : std::map<char, bool>{{'\xf6', true}, {'\xf7', true}, {'\xf4', false}}) {
    const Bytes bytes(1, byte);
    EXPECT_EQ(CborReader(as_bytes(bytes)).at_null(), null);
  }
  EXPECT_FALSE(CborReader({}).at_null());
}

TEST(CborReader, AnyItemAsJson) {
  const Bytes bytes =
      cbor_map({{"list", cbor_array({cbor(1), cbor_head(1, 1), cbor_number(0.5), "\xf5", "\xf4", "\xf6"})},
                {"bytes", cbor_bytes("abc")},
                {"date", cbor_head(6, 0) + cbor_text("2023")},
                {"latin", cbor_text("\xe9")}});
  CborReader reader(as_bytes(bytes));
  EXPECT_EQ(reader.value(),
            json::parse(R"({"list": [1, -2, 0.5, true, false, null], "bytes": null, "date": "2023",
                                            "latin": "é"})"));
  EXPECT_TRUE(reader.at_end());
}

constexpr std::array<std::string_view, 3> names = {"a", "b", "c"};

TEST(CborFields, ValuesOfTheNames) {
  const Bytes message = "\xd9\xd9\xf7" + cbor_map({{"other", cbor_array({cbor_map({{"a", cbor(1)}})})},
                                                   {"b", cbor_head(1, 4)},
                                                   {"a", cbor_array({cbor(3), cbor_head(1, 0)})},
                                                   {"c", "\xf6"}});
  const CborFields fields(as_bytes(message), names);
  EXPECT_EQ(fields.integer("b"), -5);
  EXPECT_EQ(fields.number("b"), -5);
  EXPECT_EQ(fields.integers("a", 2), (std::vector<int64_t>{3, -1}));
  EXPECT_FALSE(fields.has("c"));
  EXPECT_TRUE(fields.flag("c", true));
  EXPECT_EQ(user_error([&] { fields.integer("c"); }), "c is missing");
  EXPECT_EQ(user_error([&] { fields.text("b"); }), "b: no text (byte 17)");
  EXPECT_EQ(user_error([&] { fields.integers("a", 1); }), "a: more than 1 integers (byte 22)");
}

TEST(CborFields, WhatIsWrongIsSaid) {
  const auto refusal = [](const Bytes& message) {
    return user_error([&] { CborFields(as_bytes(message), names); });
  };
  EXPECT_EQ(refusal(cbor_map({{"x", cbor(1)}, {"x", cbor(2)}})), "");
  EXPECT_EQ(refusal(cbor_map({{"a", cbor(1)}, {"a", cbor(2)}})), "a: comes twice (byte 6)");
  EXPECT_EQ(refusal(cbor(1)), "no map (byte 0)");
  EXPECT_EQ(refusal(cbor_map({}) + "x"), "something follows the map (byte 1)");
}

// Items are counted, whatever they are in.
TEST(CborFields, AtMostSoManyItems) {
  const Bytes array = cbor_map({{"x", cbor_array({cbor(1), cbor(2)})}, {"b", "\xf5"}});
  EXPECT_TRUE(CborFields(as_bytes(array), names, 7).flag("b", false));
  EXPECT_EQ(user_error([&] { CborFields(as_bytes(array), names, 6); }), "too many items (byte 8)");
}

}  // namespace
}  // namespace eelsvae
