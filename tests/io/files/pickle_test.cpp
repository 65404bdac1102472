#include "io/files/pickle.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "tests/io/containers/zip_file.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;
using namespace std::string_literals;

json parsed(const std::string& pickle) {
  return parse_pickle(std::as_bytes(std::span(pickle)), "a");
}

std::string refusal(const std::string& pickle) {
  return user_error([&] { parsed(pickle); });
}

// pickle.dumps(VALUE, PROTOCOL) of Python 3.
TEST(Pickle, PlainValues) {
  // [None, True, False, 7, 300, -2, 70000, 2**40, 0.5, "Fe", (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}, []]
  EXPECT_EQ(
      parsed("\x80\x03]q\x00(N\x88\x89K\x07M,\x01J\xfe\xff\xff\xffJp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00"
             "\x01G?\xe0\x00\x00\x00\x00\x00\x00X\x02\x00\x00\x00"
             "Feq\x01K\x01\x85q\x02K\x01K\x02\x86q\x03K\x01"
             "K\x02K\x03\x87q\x04(K\x01K\x02K\x03K\x04tq\x05}q\x06]q\x07"
             "e."s),
      json::parse(R"([null, true, false, 7, 300, -2, 70000, 1099511627776, 0.5, "Fe", [1], [1, 2], [1, 2, 3],
                            [1, 2, 3, 4], {}, []])"));
}

// A list that is named before it is filled: a = [1]; {"x": a, "y": a}
TEST(Pickle, WhatIsNamedTwice) {
  EXPECT_EQ(parsed("\x80\x04\x95\x11\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01x\x94]\x94K\x01"
                   "a\x8c\x01y\x94h\x02u."s),
            json::parse(R"({"x": [1], "y": [1]})"));
}

// numpy.float64(0.25), and numpy.array([{"a": 1}], dtype=object)
TEST(Pickle, OfNumPy) {
  const std::string scalar =
      "\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00\x8c\x16numpy._core."
      "multiarray\x94\x8c\x06scalar\x94\x93\x94\x8c\x05"
      "numpy\x94\x8c\x05"
      "dtype\x94\x93\x94\x8c\x02"
      "f8\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01<\x94NNNJ\xff\xff\xff\xff"
      "J\xff\xff\xff\xffK\x00t\x94"
      "bC\x08\x00\x00\x00\x00\x00\x00\xd0?\x94\x86\x94R\x94."s;
  EXPECT_EQ(parsed(scalar), 0.25);
  const std::string array =
      "\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00\x8c\x16numpy._core.multiarray\x94\x8c\x0c_"
      "reconstruct\x94\x93\x94\x8c"
      "\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\x00\x85\x94"
      "C\x01"
      "b\x94\x87\x94R\x94(K\x01K\x01\x85\x94h\x03\x8c\x05"
      "dtype\x94\x93\x94\x8c\x02O8\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01|"
      "\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?t\x94"
      "b\x89]\x94}\x94\x8c\x01"
      "a\x94K\x01sat\x94"
      "b."s;
  EXPECT_EQ(parsed(array), json::parse(R"([{"a": 1}])"));
  for (size_t size = 0; size < array.size(); ++size)
    EXPECT_EQ(refusal(array.substr(0, size)), "a: its pickle cannot be read: it is cut off") << size;
}

// A text with its length before it.
std::string text(const std::string& content) {
  return "X" + raw_bytes(std::vector{static_cast<uint32_t>(content.size())}) + content;
}

int64_t most_memory() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} << 10;
}

std::string repeated(int times, const std::string& what) {
  std::string all;
  for (int i = 0; i < times; ++i) all += what;
  return all;
}

// What is named often is not copied as often, be it a list of arrays, a name or a text.
TEST(Pickle, TakesNoMoreMemoryThanItMay) {
  const int64_t before = most_memory();
  // [array(a), array(a), ...], a = [None, None, ...]
  const std::string arrays = "](" + repeated(100000, "N") + "eq\0"s + text("m") + text("_reconstruct") +
                             "\x93q\1" + "(" + repeated(2500, "h\1)R(NNNNh\0tb"s) + "t.";
  EXPECT_EQ(refusal(arrays), "a: its pickle cannot be read: it holds more than 200000 values");
  const std::string names = text(std::string(500000, 'a')) + "q\0("s + repeated(4000, "h\0h\0\x93"s) + "t.";
  EXPECT_EQ(parsed(names), json(std::vector<json>(4000)));
  const std::string types = text("n") + text("dtype") + "\x93" + text(std::string(500000, 'a')) +
                            "\x85Rq\0("s + repeated(4000, "h\0Nb"s) + "t.";
  EXPECT_EQ(parsed(types), json(std::vector<json>(4000)));
  const std::string recalled = text(std::string(500000, 'a')) + "q\0("s + repeated(4000, "h\0"s);
  EXPECT_EQ(refusal(recalled + "t."), "a: its pickle cannot be read: it holds more than 16 MiB of text");
  const std::string keys = text(std::string(500000, 'a')) + "q\0("s + repeated(40, "}h\0Ns"s) + "t.";
  EXPECT_EQ(refusal(keys), "a: its pickle cannot be read: it holds more than 16 MiB of text");
  const std::string not_kept = "}(" + repeated(1000, "NN") + "uq\0("s + repeated(1000, "h\0"s) + "t.";
  EXPECT_EQ(refusal(not_kept), "a: its pickle cannot be read: it holds more than 200000 values");
  EXPECT_LT(most_memory() - before, int64_t{1} << 30);
}

TEST(Pickle, CallsNothingAndTakesNothingEndless) {
  EXPECT_EQ(refusal("cos\nsystem\n(X\x04\x00\x00\x00trueq\x00tR."s),
            "a: its pickle cannot be read: it calls system");
  EXPECT_EQ(refusal("]q\x00h\x00"
                    "a."s),
            "a: its pickle cannot be read: it nests deeper than 100");  // holds itself
  std::string deep(200000, ']');
  deep += std::string(199999, 'a') + ".";
  EXPECT_NE(refusal(deep).find("nests deeper"), std::string::npos);
  // Each list holds the one before it a hundred times.
  std::string wide = "]q\x00"s;
  for (char level = 1; level < 20; ++level) {
    wide += "](";
    for (int i = 0; i < 100; ++i) wide += "h"s + static_cast<char>(level - 1);
    wide += "eq"s + level;
  }
  EXPECT_NE(refusal(wide + ".").find("more than 200000 values"), std::string::npos);
  EXPECT_NE(refusal(std::string((1 << 20) + 1, 'N')).find("longer than 1 MiB"), std::string::npos);
  for (const std::string damaged : {".", "K\x01t.", "(a.", "h\x05.", "}(K\x01u.", "NR.", "Nb.",
                                    "K\x01K\x02"
                                    "a."})
    EXPECT_EQ(refusal(damaged), "a: its pickle cannot be read: it is damaged") << damaged;
  EXPECT_EQ(refusal("\x7f"), "a: its pickle cannot be read: it has instruction 127");
}

}  // namespace
}  // namespace eelsvae
