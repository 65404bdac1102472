#include "io/terminal/progress.h"

#include <algorithm>
#include <cstdio>
#include <string>

#include <gtest/gtest.h>

namespace eelsvae {
namespace {

ProgressState training() {
  ProgressState state;
  state.title = "Training";
  state.unit = "epochs";
  state.status = "loss 0.123";
  state.done = 60;
  state.total = 120;
  state.rate = 1.2;
  state.elapsed = 50;
  return state;
}

int characters(const std::string& text) {
  int count = 0;
  for (char c : text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return count;
}

TEST(ProgressFormat, Duration) {
  EXPECT_EQ(format_duration(0), "0:00");
  EXPECT_EQ(format_duration(-3), "0:00");
  EXPECT_EQ(format_duration(7.4), "0:07");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(725), "12:05");
  EXPECT_EQ(format_duration(3 * 3600 + 60), "3:01:00");
  EXPECT_EQ(format_duration(52 * 3600), "2 d 04 h");
  EXPECT_EQ(format_duration(1e300), "years");
}

TEST(ProgressFormat, Rate) {
  EXPECT_EQ(format_rate(1250), "1250/s");
  EXPECT_EQ(format_rate(99.97), "100/s");
  EXPECT_EQ(format_rate(12.34), "12.3/s");
  EXPECT_EQ(format_rate(0.5), "0.50/s");
  EXPECT_EQ(format_rate(0.25), "4.0 s each");
  EXPECT_EQ(format_rate(1.0 / 150), "2:30 each");
}

TEST(ProgressFormat, BarFillsWithTheWork) {
  ProgressState state = training();
  EXPECT_EQ(format_bar(state, 200),
            "Training [===============>              ]  60/120 epochs   50 %  1.20/s  0:50 left  loss 0.123");
  state.done = 0;
  state.rate = 0;
  EXPECT_EQ(format_bar(state, 200),
            "Training [>                             ]   0/120 epochs    0 %  loss 0.123");
  state.done = 120;
  EXPECT_EQ(format_bar(state, 200),
            "Training [==============================] 120/120 epochs  100 %  0:00 left  loss 0.123");
}

TEST(ProgressFormat, BarRespectsTheWidth) {
  ProgressState state = training();
  state.status = "Δloss 0.123 µ\n\x1b[31m";
  for (int columns = -1; columns < 130; ++columns) {
    std::string bar = format_bar(state, columns);
    EXPECT_LE(characters(bar), std::max(columns, 0)) << bar;
    EXPECT_EQ(bar.find_first_of("\n\x1b"), std::string::npos);
  }
  // The bar gives way before the facts, the status before the count.
  EXPECT_EQ(format_bar(training(), 61), "Training  60/120 epochs   50 %  1.20/s  0:50 left  loss 0.123");
  EXPECT_EQ(format_bar(training(), 30), "Training  60/120 epochs   50 %");
}

TEST(ProgressFormat, LineAndSummary) {
  ProgressState state = training();
  EXPECT_EQ(format_line(state), "Training: 60/120 epochs, 50 %, 1.20/s, 0:50 left, loss 0.123");
  EXPECT_EQ(format_summary(state), "Training: 60 of 120 epochs in 0:50, 1.20/s, loss 0.123");
  state.done = 120;
  EXPECT_EQ(format_summary(state), "Training: 120 epochs in 0:50, 1.20/s, loss 0.123");
}

TEST(ProgressFormat, NothingToDoIsDone) {
  ProgressState state;
  state.title = "Scoring";
  state.unit = "tiles";
  EXPECT_EQ(format_line(state), "Scoring: 0/0 tiles, 100 %, 0:00 left");
}

TEST(SmoothedRate, IsRightFromTheFirstItemOn) {
  SmoothedRate rate;
  EXPECT_EQ(rate.per_second(), 0);
  rate.add(3, 1.5);
  EXPECT_DOUBLE_EQ(rate.per_second(), 2);
}

TEST(SmoothedRate, RidesOutASlowItemAndFollowsALastingChange) {
  SmoothedRate rate;
  for (int i = 0; i < 600; ++i) rate.add(1, 0.1);
  EXPECT_NEAR(rate.per_second(), 10, 1e-9);
  rate.add(1, 1);
  EXPECT_GT(rate.per_second(), 9);
  for (int i = 0; i < 120; ++i) rate.add(1, 1);
  EXPECT_NEAR(rate.per_second(), 1, 0.01);
}

// Shown into a temporary file, by a clock that the test moves.
class ProgressTest : public testing::Test {
 protected:
  ~ProgressTest() override { std::fclose(file_); }

  ProgressOutput output(bool terminal) {
    ProgressOutput output;
    output.file = file_;
    output.terminal = terminal;
    output.columns = [this] { return columns_; };
    output.seconds = [this] { return now_; };
    return output;
  }

  // What was written since the last call.
  std::string written() {
    std::string text;
    std::fseek(file_, read_, SEEK_SET);
    for (int c; (c = std::fgetc(file_)) != EOF;) text += static_cast<char>(c);
    read_ = std::ftell(file_);
    return text;
  }

  std::FILE* file_ = std::tmpfile();
  long read_ = 0;
  double now_ = 1000;
  int columns_ = 120;
};

TEST_F(ProgressTest, TerminalIsRedrawnAtMostTenTimesASecond) {
  Progress progress("Scoring", 1000, "tiles", 0, output(true));
  written();
  int drawn = 0;
  for (int i = 1; i <= 1000; ++i) {
    now_ += 0.002;
    progress.update(i);
    std::string text = written();
    if (!text.empty()) {
      EXPECT_EQ(text.substr(0, 9), "\rScoring ");
      EXPECT_EQ(text.substr(text.size() - 3), "\x1b[K");
      ++drawn;
    }
  }
  EXPECT_GE(drawn, 18);
  EXPECT_LE(drawn, 20);
  progress.finish();
  EXPECT_EQ(written(), "\r\x1b[KScoring: 1000 tiles in 0:02, 500/s\n");
  progress.finish();
  EXPECT_EQ(written(), "");
}

TEST_F(ProgressTest, TerminalFollowsAResize) {
  Progress progress("Scoring", 1000, "tiles", 0, output(true));
  written();
  now_ += 1;
  columns_ = 20;
  progress.update(10);
  EXPECT_EQ(written(), "\rScoring   10/1000 t\x1b[K");
}

TEST_F(ProgressTest, OtherOutputGetsACleanLine) {
  Progress progress("Scoring", 1000, "tiles", 0, output(true));
  written();
  clear_progress_line();
  EXPECT_EQ(written(), "\r\x1b[K");
  clear_progress_line();
  EXPECT_EQ(written(), "");
  now_ += 0.001;
  progress.update(1);
  EXPECT_NE(written(), "") << "the bar comes back with the next update";
}

TEST_F(ProgressTest, AnAbandonedBarEndsItsLine) {
  {
    Progress progress("Scoring", 1000, "tiles", 0, output(true));
    written();
  }
  EXPECT_EQ(written(), "\n");
  clear_progress_line();
  EXPECT_EQ(written(), "");
}

TEST_F(ProgressTest, FileGetsFewPlainLinesAndASummary) {
  Progress progress("Training", 100, "epochs", 0, output(false));
  for (int i = 1; i <= 100; ++i) {  // 10 s for every 10 %: a line after 30 s
    now_ += 1;
    progress.update(i, "loss " + std::to_string(i));
    std::string text = written();
    EXPECT_EQ(!text.empty(), i == 30 || i == 60 || i == 90) << i;
    if (i == 60) {
      EXPECT_EQ(text, "Training: 60/100 epochs, 60 %, 1.00/s, 0:40 left, loss 60\n");
    }
  }
  progress.finish();
  EXPECT_EQ(written(), "Training: 100 epochs in 1:40, 1.00/s, loss 100\n");
}

TEST_F(ProgressTest, FileGetsALineEveryFiveMinutesOfLongWork) {
  Progress progress("Training", 100, "epochs", 0, output(false));
  int lines = 0;
  for (int i = 1; i <= 100; ++i) {
    now_ += 60;
    progress.update(i);
    if (!written().empty()) ++lines;
  }
  EXPECT_EQ(lines, 19);
}

TEST_F(ProgressTest, WhatAResumedRunHasDoneDoesNotCountForTheRate) {
  Progress progress("Training", 100, "epochs", 50, output(false));
  now_ += 40;
  progress.update(60);
  EXPECT_EQ(written(), "Training: 60/100 epochs, 60 %, 4.0 s each, 2:40 left\n");
  progress.finish();
  EXPECT_EQ(written(), "Training: 60 of 100 epochs in 0:40, 4.0 s each\n");
}

TEST_F(ProgressTest, UpdatesAtTheSameInstantAreKept) {
  Progress progress("Scoring", 2, "tiles", 0, output(false));
  progress.update(1);
  progress.update(2);
  progress.finish();
  EXPECT_EQ(written(), "Scoring: 2 tiles in 0:00\n");
}

}  // namespace
}  // namespace eelsvae
