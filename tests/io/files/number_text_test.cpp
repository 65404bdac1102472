#include "io/files/number_text.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace eelsvae {
namespace {

TEST(NumberText, CountsHaveSeparators) {
  EXPECT_EQ(count_text(0), "0");
  EXPECT_EQ(count_text(999), "999");
  EXPECT_EQ(count_text(9216), "9,216");
  EXPECT_EQ(count_text(100000), "100,000");
  EXPECT_EQ(count_text(-777076961), "-777,076,961");
  EXPECT_EQ(count_text(std::numeric_limits<int64_t>::min()), "-9,223,372,036,854,775,808");
}

TEST(NumberText, ThreeSignificantDigits) {
  EXPECT_EQ(number_text(0), "0");
  EXPECT_EQ(number_text(1), "1");
  EXPECT_EQ(number_text(0.66189), "0.662");
  EXPECT_EQ(number_text(-12.345), "-12.3");
  EXPECT_EQ(number_text(0.001), "0.001");
  EXPECT_EQ(number_text(999.4), "999");
  EXPECT_EQ(number_text(999.6), "1,000");
  EXPECT_EQ(number_text(12345.6), "12,346");
}

TEST(NumberText, VeryLargeAndVerySmall) {
  EXPECT_EQ(number_text(1.5e-7), "1.5e-7");
  EXPECT_EQ(number_text(-2e-10), "-2e-10");
  EXPECT_EQ(number_text(3.14159e12), "3.14e12");
  EXPECT_EQ(number_text(1e100), "1e100");
}

TEST(NumberText, WhatIsNotFiniteIsNotANumberToRead) {
  EXPECT_EQ(number_text(std::nan("")), "n/a");
  EXPECT_EQ(number_text(std::numeric_limits<double>::infinity()), "n/a");
}

}  // namespace
}  // namespace eelsvae
