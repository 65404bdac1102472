#include "io/files/message_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace eelsvae {
namespace {

TEST(MessageText, LatinOneBecomesUtf8) {
  EXPECT_EQ(utf8_text("caf\u00e9 \u20ac \U0001f52c"), "caf\u00e9 \u20ac \U0001f52c");
  EXPECT_EQ(utf8_text("caf\xe9"), "caf\u00e9");
  // Overlong, a surrogate, too large, cut off.
  for (const char* text : {"\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\xe2\x82"})
    EXPECT_EQ(utf8_text(utf8_text(text)), utf8_text(text)) << text;
}

TEST(MessageText, OneLineHasNoControlCharacters) {
  EXPECT_EQ(one_line("a\nb\x1b[31m\x7f\tc"), "a b [31m  c");
  EXPECT_EQ(one_line("a\u009bb\u00a0c"), "a b\u00a0c");  // U+009B begins a terminal's sequences, too
  EXPECT_EQ(one_line("\x9b\xe9"), " \u00e9");
  EXPECT_EQ(one_line(std::string_view("a\0b", 3)), "a b");
}

TEST(MessageText, ReadableKeepsLinesOfText) {
  const nlohmann::json tree = {{"a\x1b", {"two\nlines", 5, nullptr}}, {"\xb5m", {{"x", "\xc5\x1b"}}}};
  EXPECT_EQ(readable(tree),
            (nlohmann::json{{"a ", {"two\nlines", 5, nullptr}}, {"\u00b5m", {{"x", "\u00c5 "}}}}));
}

}  // namespace
}  // namespace eelsvae
