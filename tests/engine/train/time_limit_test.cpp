#include "engine/train/time_limit.h"

#include <gtest/gtest.h>

namespace eelsvae {
namespace {

TEST(TimeLimitTest, WithoutOneNothingEnds) {
  TimeLimit limit({});
  EXPECT_FALSE(limit.ask());
  limit.on_epoch(1e9);
  EXPECT_FALSE(limit.ask());
  EXPECT_FALSE(limit.is_up());
}

TEST(TimeLimitTest, TheFirstEpochIsGivenUpHalfway) {
  TimeLimit limit(0);
  EXPECT_FALSE(limit.is_up());  // nobody asked yet
  EXPECT_TRUE(limit.ask());
  EXPECT_TRUE(limit.is_up());
}

TEST(TimeLimitTest, LaterOnesAreCompletedOrNotBegun) {
  TimeLimit limit(60);
  EXPECT_FALSE(limit.ask());
  limit.on_epoch(10);
  EXPECT_FALSE(limit.ask());
  limit.on_epoch(3601);
  EXPECT_TRUE(limit.ask());  // between epochs
  TimeLimit over(0);
  over.on_epoch(0.001);
  EXPECT_TRUE(over.ask());
  EXPECT_FALSE(over.ask());  // within the next, which whoever goes on with it completes
}

}  // namespace
}  // namespace eelsvae
