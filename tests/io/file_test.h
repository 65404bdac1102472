#pragma once

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

#include "kernels/error.h"
#include "tests/apps/run_program.h"
#include "tests/folders.h"

namespace eelsvae {

// A test with an empty folder of its own, which is removed afterwards.
class FileTest : public testing::Test {
 protected:
  FileTest() {
    std::string name = (std::filesystem::temp_directory_path() / "eelsvae-test-XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("cannot make a temporary folder");
    folder_ = name;
  }
  ~FileTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  size_t files_in_folder() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder_), {}));
  }

 private:
  std::filesystem::path folder_;
};

inline std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// The message of the UserError that `action` throws, which must be one line; "" if it throws none.
template <class Action>
std::string user_error(const Action& action) {
  try {
    action();
  } catch (const UserError& error) {
    const std::string text = error.what();
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    EXPECT_LT(text.size(), 400u) << text;
    return text;
  }
  return "";
}

// While it lives no file can grow beyond `bytes`: what a full disk looks like to a program that writes.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    before_signal_ = std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, before_signal_);
  }

 private:
  rlimit before_;
  void (*before_signal_)(int);
};

// A measured file of the shared data folder; "" if the folder is not there.
inline std::string shared_data(const std::string& name) {
  const std::string path = source_file("../shared/data/" + name);
  return std::filesystem::exists(path) ? path : "";
}

// Runs a script of tests/io with Debian's Python. Status 77 if it, or a package that the script needs, is
// missing.
inline ProgramResult run_python(const std::string& script, std::vector<std::string> arguments) {
  const std::string python = "/usr/bin/python3";
  if (!std::filesystem::exists(python)) return {77, "", ""};
  arguments.insert(arguments.begin(), {python, source_file("tests/io/" + script)});
  return run(arguments);
}

inline std::string fixture(const std::string& name) {
  return source_file("tests/fixtures/" + name);
}

}  // namespace eelsvae
