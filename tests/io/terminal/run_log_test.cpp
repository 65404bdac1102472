#include "io/terminal/run_log.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;

class RunLogTest : public FileTest {
 protected:
  RunLogTest() { fs::create_directories(folder_); }

  static std::string text_of(const fs::path& path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  template <typename Action>
  static std::string mistake(Action action) {
    try {
      action();
    } catch (const UserError& error) {
      return error.what();
    }
    return "no error";
  }

  fs::path folder_ = path("run");
  fs::path metrics_ = folder_ / "metrics.jsonl";
};

TEST_F(RunLogTest, UserSeesPlainLinesAndTheFileTheirTimes) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  {
    auto log = make_run_log(folder_, false);
    log->info("{} tiles of {} pixels", 64, 24);
    log->warn("narrowed to {} channels", 1312);
    log->error("lost");
    log->debug("for the file");
    // Everything is in the file before the log is closed: a killed run leaves its log.
    std::stringstream lines(text_of(folder_ / "log.txt"));
    std::string line;
    for (const char* message : {"info: 64 tiles of 24 pixels", "warning: narrowed to 1312 channels",
                                "error: lost", "debug: for the file"}) {
      ASSERT_TRUE(std::getline(lines, line));
      int digits = 0, year, month, day, hour, minute, second, millisecond;
      EXPECT_EQ(std::sscanf(line.c_str(), "%4d-%2d-%2d %2d:%2d:%2d.%3d %n", &year, &month, &day, &hour,
                            &minute, &second, &millisecond, &digits),
                7)
          << line;
      EXPECT_EQ(line.substr(static_cast<size_t>(digits)), message);
    }
    EXPECT_FALSE(std::getline(lines, line)) << line;
  }
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "64 tiles of 24 pixels\n");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "warning: narrowed to 1312 channels\nerror: lost\n");
}

TEST_F(RunLogTest, AppendsOnResumeAndStartsAnewOtherwise) {
  testing::internal::CaptureStdout();
  make_run_log(folder_, false)->info("first");
  make_run_log(folder_, true)->info("resumed");
  std::string both = text_of(folder_ / "log.txt");
  EXPECT_LT(both.find("first"), both.find("resumed"));
  EXPECT_NE(both.find("resumed"), std::string::npos);
  make_run_log(folder_, false)->info("new");
  EXPECT_EQ(text_of(folder_ / "log.txt").find("first"), std::string::npos);
  testing::internal::GetCapturedStdout();
}

TEST_F(RunLogTest, ConsoleLogNeedsNoFolder) {
  testing::internal::CaptureStdout();
  make_console_log()->info("{braces} stay");
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "{braces} stay\n");
}

TEST_F(RunLogTest, FolderThatIsNotThereIsNamed) {
  std::ofstream(folder_ / "file") << "x";
  std::string message = mistake([&] { make_run_log(folder_ / "file", false); });
  EXPECT_EQ(message.find("cannot write " + (folder_ / "file" / "log.txt").string() + ": "), 0u) << message;
}

TEST_F(RunLogTest, FullDiskEndsTheRunWithTheFilesName) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  fs::create_symlink("/dev/full", folder_ / "log.txt");
  fs::create_symlink("/dev/full", metrics_);
  testing::internal::CaptureStdout();
  auto log = make_run_log(folder_, true);
  std::string message = mistake([&] { log->info("lost"); });
  testing::internal::GetCapturedStdout();
  EXPECT_EQ(message.find("cannot write " + (folder_ / "log.txt").string() + ": "), 0u) << message;
  EXPECT_NE(message.find("No space left"), std::string::npos) << message;
  EXPECT_EQ(mistake([&] {
              append_metric(metrics_, {{"epoch", 1}});
            }),
            "cannot write " + metrics_.string() + ": No space left on device");
}

TEST_F(RunLogTest, MetricsAreOneObjectALine) {
  append_metric(metrics_, {{"epoch", 1}, {"loss", 0.5}});
  append_metric(metrics_, {{"epoch", 2}, {"loss", std::numeric_limits<double>::quiet_NaN()}});
  EXPECT_EQ(text_of(metrics_), "{\"epoch\":1,\"loss\":0.5}\n{\"epoch\":2,\"loss\":null}\n");
}

TEST_F(RunLogTest, ResumeReplacesTheHistory) {
  std::ofstream(metrics_) << "{\"epoch\":1}\n{\"epoch\":2}\n{\"epo";
  write_metrics(metrics_, {{{"epoch", 1}}});
  append_metric(metrics_, {{"epoch", 2}});
  EXPECT_EQ(text_of(metrics_), "{\"epoch\":1}\n{\"epoch\":2}\n");
  write_metrics(metrics_, {});
  EXPECT_EQ(text_of(metrics_), "");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1)
      << "a temporary file stayed";
}

TEST_F(RunLogTest, MetricsThatCannotBeWrittenAreNamed) {
  fs::path lost = folder_ / "none" / "metrics.jsonl";
  std::string expected = "cannot write " + lost.string() + ": No such file or directory";
  EXPECT_EQ(mistake([&] { append_metric(lost, {{"epoch", 1}}); }), expected);
  EXPECT_EQ(mistake([&] { write_metrics(lost, {}); }), expected);
}

}  // namespace
}  // namespace eelsvae
