#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <optional>
#include <string>

namespace eelsvae {

// A test whose plan cache is a folder of its own, empty at first.
class PlanCacheFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "eelsvae-plans-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    if (const char* before = getenv("XDG_CACHE_HOME")) before_ = before;
    setenv("XDG_CACHE_HOME", name.c_str(), 1);
  }
  void TearDown() override {
    if (before_)
      setenv("XDG_CACHE_HOME", before_->c_str(), 1);
    else
      unsetenv("XDG_CACHE_HOME");
    std::filesystem::remove_all(folder_);
  }

  // What another process would find: the same files, and nothing that this one remembers.
  void as_another_process() {
    const std::filesystem::path before = folder_;
    folder_ += "-";
    std::filesystem::rename(before, folder_);
    setenv("XDG_CACHE_HOME", folder_.c_str(), 1);
  }

  std::filesystem::path file() const { return folder_ / "eelsvae" / "plans.json"; }

  std::filesystem::path folder_;
  std::optional<std::string> before_;
};

}  // namespace eelsvae
