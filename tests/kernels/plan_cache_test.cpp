#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "kernels/error.h"
#include "kernels/plan_cache.h"
#include "tests/kernels/plan_cache_folder.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;

class PlanCacheTest : public PlanCacheFolderTest {
 protected:
  void write(const std::string& text) const {
    fs::create_directories(file().parent_path());
    std::ofstream(file()) << text;
  }
};

TEST_F(PlanCacheTest, RemembersByDeviceAndKey) {
  PlanCache one("one device"), other("other device");
  EXPECT_EQ(one.find("a"), std::nullopt);
  one.remember("a", "first", std::nullopt);
  one.remember("b", "second", std::nullopt);
  other.remember("a", "third", std::nullopt);
  EXPECT_EQ(one.find("a"), "first");
  EXPECT_EQ(one.find("b"), "second");
  EXPECT_EQ(other.find("a"), "third");
  EXPECT_EQ(other.find("b"), std::nullopt);
  one.remember("a", "fourth", "first");
  EXPECT_EQ(PlanCache("one device").find("a"), "fourth");
  // Nothing else is left behind.
  EXPECT_EQ(std::distance(fs::directory_iterator(file().parent_path()), {}), 1);
}

TEST_F(PlanCacheTest, ADamagedFileIsAsGoodAsNone) {
  for (const char* text :
       {"", "{", "[1, 2]", "null", "{\"d\": 3}", "{\"d\": {\"a\": [\"x\"]}}", "\xff\xfe"}) {
    SCOPED_TRACE(text);
    write(text);
    PlanCache cache("d");
    EXPECT_EQ(cache.find("a"), std::nullopt);
    cache.remember("a", "plan", std::nullopt);
    EXPECT_EQ(cache.find("a"), "plan");
  }
}

TEST_F(PlanCacheTest, AnUnwritablePlaceIsNoError) {
  std::ofstream(folder_ / "eelsvae") << "a file where the folder would be";
  PlanCache cache("d");
  cache.remember("a", "plan", std::nullopt);
  EXPECT_EQ(cache.find("a"), std::nullopt);
}

TEST_F(PlanCacheTest, WithoutAHomeNothingIsRemembered) {
  const char* home = getenv("HOME");
  const std::optional<std::string> home_before = home ? std::optional<std::string>(home) : std::nullopt;
  unsetenv("XDG_CACHE_HOME");
  unsetenv("HOME");
  PlanCache("d").remember("a", "plan", std::nullopt);
  EXPECT_EQ(PlanCache("d").find("a"), std::nullopt);
  // ~/.cache stands in for the variable.
  setenv("HOME", folder_.c_str(), 1);
  PlanCache("d").remember("a", "plan", std::nullopt);
  EXPECT_TRUE(fs::exists(folder_ / ".cache" / "eelsvae" / "plans.json"));
  if (home_before)
    setenv("HOME", home_before->c_str(), 1);
  else
    unsetenv("HOME");
}

TEST_F(PlanCacheTest, ThreadsLoseNothing) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t] {
      for (int i = 0; i < 10; ++i)
        PlanCache("d").remember(std::to_string(t) + " " + std::to_string(i), std::to_string(i), std::nullopt);
    });
  for (std::thread& thread : threads) thread.join();
  for (int t = 0; t < 4; ++t)
    for (int i = 0; i < 10; ++i)
      EXPECT_EQ(PlanCache("d").find(std::to_string(t) + " " + std::to_string(i)), std::to_string(i));
}

// Two processes that measure at the same time: the one that is done first decides for both.
TEST_F(PlanCacheTest, WhatAnotherProcessHasFoundMeanwhileIsTaken) {
  const PlanCache mine("d"), other("d");
  EXPECT_EQ(other.remember("k", "b", std::nullopt), "b");
  EXPECT_EQ(mine.remember("k", "a", std::nullopt), "b");
  EXPECT_EQ(mine.find("k"), "b");
  const auto slow_start = [&](size_t i) {
    other.remember("m", "c", std::nullopt);
    return static_cast<double>(i);
  };
  EXPECT_EQ(fastest(mine, "m", {"a", "b", "c"}, slow_start), 2u);
  // A name that is not offered here is no help.
  other.remember("n", "z", std::nullopt);
  EXPECT_EQ(fastest(mine, "n", {"a", "b"}, [](size_t i) { return static_cast<double>(i); }), 0u);
  EXPECT_EQ(mine.find("n"), "a");
}

TEST_F(PlanCacheTest, TheFastestIsTakenAndRemembered) {
  const PlanCache cache("d");
  const std::vector<std::string> names = {"a", "b", "c"};
  EXPECT_EQ(fastest(cache, "k", names, [](size_t i) { return i == 1 ? 0.5 : 2.0; }), 1u);
  EXPECT_EQ(cache.find("k"), "b");
  auto unmeasured = [](size_t) -> double { throw std::logic_error("measured"); };
  EXPECT_EQ(fastest(cache, "k", names, unmeasured), 1u);
  EXPECT_EQ(fastest(cache, "single", {"a"}, unmeasured), 0u);
  // A name that is no longer offered is measured anew.
  EXPECT_EQ(fastest(cache, "k", {"a", "c"}, [](size_t i) { return 2.0 - static_cast<double>(i); }), 1u);
  EXPECT_EQ(cache.find("k"), "c");
}

TEST_F(PlanCacheTest, WhatDoesNotRunIsPassedOver) {
  const PlanCache cache("d");
  EXPECT_EQ(fastest(cache, "k", {"a", "b", "c"},
                    [](size_t i) {
                      if (i == 0) throw std::runtime_error("refused");
                      return static_cast<double>(i);
                    }),
            1u);
  auto refuse = [](size_t) -> double { throw std::runtime_error("refused"); };
  EXPECT_THROW(fastest(cache, "none", {"a", "b"}, refuse), std::runtime_error);
  EXPECT_EQ(cache.find("none"), std::nullopt);
}

TEST_F(PlanCacheTest, TooLittleMemoryIsNoFaultOfAWay) {
  const PlanCache cache("d");
  auto exhausted = [](size_t i) {
    if (i == 1) throw UserError("not enough memory");
    return 1.0;
  };
  EXPECT_THROW(fastest(cache, "k", {"a", "b", "c"}, exhausted), UserError);
  EXPECT_EQ(cache.find("k"), std::nullopt);
}

}  // namespace
}  // namespace eelsvae
