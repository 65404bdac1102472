#include "io/terminal/stage_times.h"

#include <gtest/gtest.h>

#include <thread>

namespace eelsvae {
namespace {

TEST(StageTimes, ListsStagesInOrderAfterTheirSum) {
  StageTimes times;
  times.end("reading");
  std::this_thread::sleep_for(std::chrono::milliseconds(260));
  times.end("scoring");
  const std::string text = times.text();
  EXPECT_TRUE(text.starts_with("0.")) << text;
  EXPECT_NE(text.find(" s: reading 0.0, scoring 0."), std::string::npos) << text;
  EXPECT_EQ(text.find("scoring 0.0"), std::string::npos) << text;
}

}  // namespace
}  // namespace eelsvae
