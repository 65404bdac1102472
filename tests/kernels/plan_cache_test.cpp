#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

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
  as_another_process();
  EXPECT_EQ(one.find("a"), "fourth");
  EXPECT_EQ(one.find("b"), "second");
  EXPECT_EQ(other.find("a"), "third");
  // Nothing else is left behind.
  EXPECT_EQ(std::distance(fs::directory_iterator(file().parent_path()), {}), 1);
}

TEST_F(PlanCacheTest, ADamagedFileIsAsGoodAsNone) {
  for (const char* text :
       {"", "{", "[1, 2]", "null", "{\"d\": 3}", "{\"d\": {\"a\": [\"x\"]}}", "\xff\xfe"}) {
    SCOPED_TRACE(text);
    as_another_process();
    write(text);
    PlanCache cache("d");
    EXPECT_EQ(cache.find("a"), std::nullopt);
    cache.remember("a", "plan", std::nullopt);
    as_another_process();
    EXPECT_EQ(cache.find("a"), "plan");
  }
}

// A home that is read-only, say; root may write there, so it is one that cannot hold the file.
TEST_F(PlanCacheTest, WhereNothingCanBeWrittenTheProcessKeepsItsChoice) {
  std::ofstream(folder_ / "eelsvae") << "a file where the folder would be";
  const PlanCache cache("d");
  const std::vector<std::string> names = {"a", "b"};
  EXPECT_EQ(fastest(cache, "k", names, [](size_t i) { return i == 1 ? 0.5 : 2.0; }), 1u);
  EXPECT_EQ(fastest(cache, "k", names, [](size_t i) { return i == 0 ? 0.5 : 2.0; }), 1u);
  as_another_process();
  EXPECT_EQ(cache.find("k"), std::nullopt);
}

TEST_F(PlanCacheTest, WhatOthersDoToTheFileDoesNotChangeAChoice) {
  const PlanCache cache("d");
  auto unmeasured = [](size_t) -> double { throw std::logic_error("measured"); };
  EXPECT_EQ(fastest(cache, "k", {"a", "b"}, [](size_t i) { return i == 1 ? 0.5 : 2.0; }), 1u);
  write(R"({"d": {"k": "a", "m": "b"}})");
  EXPECT_EQ(fastest(cache, "k", {"a", "b"}, unmeasured), 1u);
  EXPECT_EQ(fastest(cache, "m", {"a", "b"}, unmeasured), 1u);
  fs::remove(file());
  EXPECT_EQ(fastest(cache, "k", {"a", "b"}, unmeasured), 1u);
  EXPECT_EQ(fastest(cache, "m", {"a", "b"}, unmeasured), 1u);
}

// Whoever is done first decides for both.
TEST_F(PlanCacheTest, TwoProcessesThatMeasureAtTheSameTimeChooseTheSame) {
  for (int round = 0; round < 5; ++round) {
    SCOPED_TRACE(round);
    const std::string key = std::to_string(round);
    int both_measure[2][2];  // pipes: to the child, to the parent
    for (auto& ends : both_measure) ASSERT_EQ(pipe(ends), 0);
    // favourite: which way is the fastest here. Nobody goes on before the other has found nothing, too.
    const auto measured = [&](size_t favourite, int to, int from) {
      bool met = false;
      return fastest(PlanCache("d"), key, {"a", "b"}, [&](size_t i) {
        char byte = 0;
        if (!met) met = ::write(to, &byte, 1) == 1 && read(from, &byte, 1) == 1;
        return i == favourite ? 0.5 : 2.0;
      });
    };
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) _exit(static_cast<int>(measured(0, both_measure[1][1], both_measure[0][0])));
    const size_t here = measured(1, both_measure[0][1], both_measure[1][0]);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), static_cast<int>(here));
    for (auto& ends : both_measure)
      for (const int end : ends) close(end);
  }
}

TEST_F(PlanCacheTest, WithoutAHomeOnlyTheProcessRemembers) {
  const char* home = getenv("HOME");
  const std::optional<std::string> home_before = home ? std::optional<std::string>(home) : std::nullopt;
  unsetenv("XDG_CACHE_HOME");
  unsetenv("HOME");
  PlanCache("without a home").remember("a", "plan", std::nullopt);
  EXPECT_EQ(PlanCache("without a home").find("a"), "plan");
  // ~/.cache stands in for the variable.
  setenv("HOME", folder_.c_str(), 1);
  EXPECT_EQ(PlanCache("without a home").find("a"), std::nullopt);
  PlanCache("without a home").remember("a", "plan", std::nullopt);
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

TEST_F(PlanCacheTest, WhatAnotherHasFoundMeanwhileIsTaken) {
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
