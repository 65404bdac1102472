#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "io/run/event_file.h"
#include "tests/apps/run_program.h"
#include "tests/io/file_test.h"

namespace eelsvae {

// Every file and folder below a folder, by name and size: equal before and after a program that is to leave
// no trace.
inline std::set<std::pair<std::string, uintmax_t>> contents(const std::string& folder) {
  std::set<std::pair<std::string, uintmax_t>> found;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    found.emplace(entry.path().string(), entry.is_regular_file() ? entry.file_size() : 0);
  return found;
}

// The files of TensorBoard, each with its time in its name, as "events" all together.
inline std::set<std::string> names_in(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.insert(EventFile::is_one(entry.path()) ? "events" : entry.path().filename().string());
  return names;
}

inline std::vector<nlohmann::json> json_lines(const std::string& path) {
  std::vector<nlohmann::json> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

// A mistake of the user: status 2 and one line that holds all the fragments.
inline void expect_mistake(const ProgramResult& result, const std::vector<std::string>& fragments) {
  EXPECT_EQ(result.status, 2) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err.rfind("eelsvae-", 0), 0u) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_TRUE(result.err.ends_with('\n')) << result.err;
  EXPECT_LT(result.err.size(), 500u) << result.err;
  EXPECT_TRUE(std::all_of(result.err.begin(), result.err.end(), [](char c) {
    return c == '\n' || static_cast<unsigned char>(c) >= ' ';
  })) << result.err;
  for (const std::string& fragment : fragments)
    EXPECT_NE(result.err.find(fragment), std::string::npos) << "no '" << fragment << "' in " << result.err;
}

// Runs the programs on an image and a model that are small enough for many runs. Programs work in the test's
// own folder, so that files go by short names.
class ProgramsTest : public FileTest {
 protected:
  ProgramsTest() {
    // A tiny model gains nothing from threads and loses much where other programs keep the processors busy.
    options_.environment = {{"OMP_NUM_THREADS", "1"}};
    options_.folder = path(".");
  }

  ProgramResult program(const std::string& name, const std::vector<std::string>& arguments) const {
    return run_app(name, arguments, options_);
  }

  // film.hspy and its truth.npy: 22 x 26 pixels, no multiple of the tile, with the Fe L3 line.
  void simulate_film() const {
    const ProgramResult result =
        program("simulate", {"--shape", "22", "26", "64", "--offset-ev", "700", "--seed", "3", "--output",
                             "film.hspy", "--truth", "truth.npy"});
    ASSERT_EQ(result.status, 0) << result.err;
  }

  // tiny.json, with changes merged into it
  void write_config(const nlohmann::json& changes = {}) const {
    nlohmann::json config = {
        {"preprocess", {{"xy_window", 1}}},
        {"tiles", {{"image_size", 8}, {"sliding_window_stride", 4}}},
        {"model", {{"channels", {2, 3, 4, 5}}, {"hidden", 8}, {"latent_dim", 3}}},
        {"loss", {{"dose", 100}}},
        {"training", {{"epochs", 3}, {"batch_size", 4}, {"learning_rate", 0.01}, {"seed", 1}}},
        {"precision", "fp32"}};
    if (!changes.is_null()) config.merge_patch(changes);
    write_bytes(path("tiny.json"), config.dump());
  }

  std::vector<std::string> train_arguments(const std::string& output,
                                           const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"tiny.json", "--data", "film.hspy", "--output", output};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  ProgramResult train(const std::string& output, const std::vector<std::string>& more = {}) const {
    return program("train", train_arguments(output, more));
  }
  ProgramResult detect(const std::string& output, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"--model", "run", "--data", "film.hspy", "--output", output};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return program("detect", arguments);
  }

  ProgramOptions options_;
};

}  // namespace eelsvae
