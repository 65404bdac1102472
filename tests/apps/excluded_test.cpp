// Regions that are left out, as a user does it: what they hold changes nothing, and they get no result.

#include <cmath>
#include <cstring>

#include "io/files/npy.h"
#include "io/files/safetensors.h"
#include "tests/apps/programs_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;

class ExcludedTest : public ProgramsTest {
 protected:
  static constexpr int64_t rows = 22, columns = 26, channels = 64;

  // A corner that holds two whole tiles, and two pixels elsewhere.
  static bool is_excluded(int64_t pixel) {
    const int64_t y = pixel / columns, x = pixel % columns;
    return (y < 9 && x >= 16) || pixel == 300 || pixel == 301;
  }
  const std::vector<std::string> exclusions_ = {"--set", "data.exclude=0,16,9,26", "--set",
                                                "data.exclude_path=dead.npy"};

  void SetUp() override {
    write_config();
    ASSERT_EQ(program("simulate", {"--shape", "22", "26", "64", "--offset-ev", "700", "--seed", "3",
                                   "--output", "clean.npy", "--truth", "truth.npy"})
                  .status,
              0);
    std::vector<uint8_t> dead(rows * columns);
    dead[300] = dead[301] = 1;
    write_npy(path("dead.npy"), {rows, columns}, dead.data());
  }

  // film.npy: the clean image with garbage where pixels are excluded.
  void spoil_film(float garbage) const {
    NpyArray film = read_npy(path("clean.npy"));
    for (int64_t pixel = 0; pixel < rows * columns; ++pixel)
      if (is_excluded(pixel))
        for (int64_t e = 0; e < channels; ++e)
          film.values[static_cast<size_t>(pixel * channels + e)] = e % 2 ? garbage : -garbage;
    write_npy(path("film.npy"), film.shape, film.values.data());
  }

  std::vector<std::string> with_exclusions(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), exclusions_.begin(), exclusions_.end());
    return arguments;
  }
  ProgramResult train_on_film(const std::string& output) const {
    return program("train", with_exclusions({"tiny.json", "--data", "film.npy", "--output", output}));
  }
};

TEST_F(ExcludedTest, WhatExcludedPixelsHoldChangesNeitherTrainingNorDetection) {
  for (const char* loss : {"cross_entropy", "mse", "poisson"}) {
    SCOPED_TRACE(loss);
    const std::string first = std::string("first-") + loss, second = std::string("second-") + loss;
    write_config({{"loss", {{"reconstruction", loss}}}});
    for (const std::string& name : {first, second}) {
      spoil_film(name == first ? 0.0f : 1e30f);
      const ProgramResult trained = train_on_film(name);
      ASSERT_EQ(trained.status, 0) << trained.err;
      EXPECT_NE((trained.out + trained.err).find("92 pixels are excluded; 2 tiles"), std::string::npos)
          << trained.out << trained.err;
      const ProgramResult detected =
          program("detect", with_exclusions({"--model", name, "--data", "film.npy", "--truth", "truth.npy",
                                             "--save-reconstruction", "--output", name + "/found"}));
      ASSERT_EQ(detected.status, 0) << detected.err;
      EXPECT_NE((detected.out + detected.err).find("of 480 spectra do not fit"), std::string::npos)
          << detected.out << detected.err;
    }
    const SafetensorsFile a(path(first + "/model.safetensors")), b(path(second + "/model.safetensors"));
    for (const std::string& tensor : a.names())
      EXPECT_EQ(std::memcmp(a.tensor(tensor).data, b.tensor(tensor).data, a.tensor(tensor).bytes), 0)
          << tensor;
    for (const char* file : {"/found/scores.npy", "/found/mask.npy", "/found/reconstruction.npy"})
      EXPECT_EQ(read_bytes(path(first + file)), read_bytes(path(second + file))) << file;

    const NpyArray scores = read_npy(path(second + "/found/scores.npy"));
    const std::vector<uint8_t> mask = read_npy_mask(path(second + "/found/mask.npy"), rows, columns);
    for (int64_t pixel = 0; pixel < rows * columns; ++pixel) {
      const auto i = static_cast<size_t>(pixel);
      ASSERT_EQ(std::isnan(scores.values[i]), is_excluded(pixel)) << pixel;
      ASSERT_FALSE(is_excluded(pixel) && mask[i]) << pixel;
    }
    const json summary = json::parse(read_bytes(path(second + "/found/summary.json")));
    EXPECT_EQ(summary["pixels"], 480);
    EXPECT_EQ(summary["excluded_pixels"], 92);
    EXPECT_EQ(summary["anomalous_pixels"], std::count(mask.begin(), mask.end(), 1));
    EXPECT_TRUE(summary["f1"].is_number());
    EXPECT_NE(read_bytes(path(second + "/found/report.html")).find("92 pixels are excluded"),
              std::string::npos);
  }
}

TEST_F(ExcludedTest, ADetectionExcludesOnlyWhatItIsToldTo) {
  spoil_film(0);
  ASSERT_EQ(train_on_film("run").status, 0);
  const ProgramResult told_nothing =
      program("detect", {"--model", "run", "--output", "found", "--set", "preprocess.set_aside=0"});
  ASSERT_EQ(told_nothing.status, 0) << told_nothing.err;
  EXPECT_NE((told_nothing.out + told_nothing.err).find("The training excluded pixels"), std::string::npos);
  const json summary = json::parse(read_bytes(path("found/summary.json")));
  EXPECT_EQ(summary["pixels"], 572);
  EXPECT_EQ(summary["excluded_pixels"], 0);

  const ProgramResult other =
      program("detect", {"--model", "run", "--output", "other", "--set", "data.exclude=[0,0,2,26]"});
  ASSERT_EQ(other.status, 0) << other.err;
  EXPECT_EQ((other.out + other.err).find("The training excluded pixels"), std::string::npos);
  // The others hold zeros in all channels, which is told apart.
  const json others = json::parse(read_bytes(path("other/summary.json")));
  EXPECT_EQ(others["set_aside"]["without_counts"], 72);
  EXPECT_EQ(others["excluded_pixels"], 52 + 72);
}

TEST_F(ExcludedTest, ARunGoesOnOnlyWithItsOwnExclusions) {
  spoil_film(0);
  ASSERT_EQ(train_on_film("run").status, 0);
  const std::vector<std::string> resume = {"tiny.json", "--data",   "film.npy", "--output",
                                           "run",       "--resume", "--set",    "training.epochs=4"};
  expect_mistake(program("train", resume), {"data.exclude", "own configuration"});
  EXPECT_EQ(program("train", with_exclusions(resume)).status, 0);

  std::vector<uint8_t> others(rows * columns);
  others[310] = 1;
  write_npy(path("dead.npy"), {rows, columns}, others.data());
  expect_mistake(program("train", with_exclusions(resume)), {"dead.npy", "not as it was", "the run in run"});
}

}  // namespace
}  // namespace eelsvae
