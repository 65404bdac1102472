// A scan and nothing else.

#include <filesystem>

#include "io/files/npy.h"
#include "tests/apps/programs_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;

class AutomaticTest : public ProgramsTest {
 protected:
  void record(const std::string& side, const std::string& defects) {
    const ProgramResult result =
        program("simulate",
                {"--shape", side, side, "64", "--offset-ev", "690", "--dispersion-ev", "1", "--exposure",
                 "16", "--seed", "2", "--defect", defects, "--output", "film.hspy", "--truth", "truth.npy"});
    ASSERT_EQ(result.status, 0) << result.err;
  }
  json summary() { return json::parse(read_bytes(path("found/summary.json"))); }
};

TEST_F(AutomaticTest, AScanAloneIsEnough) {
  record("48", "fe-shift:8@30");
  const ProgramResult result =
      program("detect", {"film.hspy", "--minutes", "0.2", "--truth", "truth.npy", "--output", "found"});
  ASSERT_EQ(result.status, 0) << result.err;
  const std::string log = read_bytes(path("found/log.txt"));
  for (const char* said :
       {"Chosen: loss.dose", "Predictive deviance of ", " predicts spectra that it was not fitted to best"})
    EXPECT_NE(log.find(said), std::string::npos) << said << " is not in\n" << log;
  EXPECT_GE(summary()["recall"], 0.9);
  EXPECT_GE(summary()["precision"], 0.8);
  const json deviance = summary()["predictive_deviance"];
  EXPECT_GT(deviance["spectra"], 100);
  EXPECT_NEAR(deviance["mean"], 1, 0.1);
  const json config = json::parse(read_bytes(path("found/config.json")));
  EXPECT_EQ(config["data"]["data_path"], "film.hspy");
  EXPECT_TRUE(std::filesystem::exists(path("found/model/model.safetensors")));

  const ProgramResult again = program("detect", {"film.hspy", "--output", "found"});
  EXPECT_EQ(again.status, 2);
  EXPECT_NE(again.err.find("there is a model in found/model"), std::string::npos) << again.err;

  // As after an interruption. What does not fit to the run is refused and leaves no trace.
  std::filesystem::remove(path("found/summary.json"));
  const std::string before = read_bytes(path("found/config.json"));
  const ProgramResult other =
      program("detect", {"film.hspy", "--output", "found", "--set", "data.energy_range=700,750"});
  EXPECT_EQ(other.status, 2);
  EXPECT_EQ(read_bytes(path("found/config.json")), before);
  const ProgramResult gone_on =
      program("detect", {"film.hspy", "--minutes", "0.1", "--truth", "truth.npy", "--output", "found"});
  ASSERT_EQ(gone_on.status, 0) << gone_on.err;
  EXPECT_NE(gone_on.out.find("Resuming after"), std::string::npos) << gone_on.out;
  EXPECT_GE(summary()["recall"], 0.9);
}

TEST_F(AutomaticTest, ASettingTakesPrecedence) {
  record("24", "none");
  const ProgramResult result = program(
      "detect", {"film.hspy", "--minutes", "0.01", "--output", "found", "--set", "tiles.image_size=12",
                 "--set", "detection.fdr=0.2", "--set", "data.energy_range=700,750"});
  ASSERT_EQ(result.status, 0) << result.err;
  const json config = json::parse(read_bytes(path("found/config.json")));
  EXPECT_EQ(config["tiles"]["image_size"], 12);
  EXPECT_EQ(summary()["fdr"], 0.2);
  EXPECT_GE(summary()["window_ev"][0], 700);
}

TEST_F(AutomaticTest, AnImageTooSmallForANetworkNeedsNone) {
  record("24", "none");
  ASSERT_EQ(program("convert", {"film.hspy", "part.hspy", "--set", "preprocess.crop_y=0,6"}).status, 0);
  const ProgramResult result = program("detect", {"part.hspy", "--output", "found"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_FALSE(std::filesystem::exists(path("found/model")));
  const std::string log = read_bytes(path("found/log.txt"));
  EXPECT_NE(log.find("no model"), std::string::npos) << log;
  EXPECT_NE(log.find("The mean spectrum is used"), std::string::npos) << log;
}

// What a training or the detection after it would refuse is refused before anything is written.
TEST_F(AutomaticTest, ARefusalLeavesNothing) {
  record("24", "none");
  write_npy(path("other.npy"), {3, 4}, std::vector<uint8_t>(12).data());
  const auto before = contents(path("."));
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--set", "data.energy_range=100,200"}, "data.energy_range leaves no channel"},
      {{"--set", "data.energy_range=700,703"}, "at least 16 are needed"},
      {{"--set", "tiles.image_size=32"}, "lower tiles.image_size"},
      {{"--set", "detection.window=100,200"}, "reaches past the energy axis"},
      {{"--truth", "other.npy"}, "the mask has shape (3, 4)"},
      {{"--set", "preprocess.crop_y=0,4", "--set", "preprocess.crop_x=0,4", "--set",
        "detection.score=latent"},
       "needs a model"},
      {{"--set", "preprocess.crop_y=0,4", "--set", "preprocess.crop_x=0,4", "--truth", "other.npy"},
       "the mask has shape (3, 4)"}};
  for (const auto& [more, said] : cases) {
    SCOPED_TRACE(more.back());
    std::vector<std::string> arguments = {"film.hspy", "--minutes", "0.01", "--output", "found"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    expect_mistake(program("detect", arguments), {said});
    EXPECT_EQ(contents(path(".")), before);
  }
  // Only the scores tell it.
  std::vector<float> alike;
  for (int i = 0; i < 24 * 24 * 64; ++i) alike.push_back(static_cast<float>(1 + i % 64));
  write_npy(path("alike.npy"), {24, 24, 64}, alike.data());
  const auto now = contents(path("."));
  for (const std::string output : {"found", "found/"}) {
    const ProgramResult result = program("detect", {"alike.npy", "--output", output, "--baseline", "mean",
                                                    "--set", "preprocess.scaling_method=none", "--set",
                                                    "preprocess.sigma=0", "--set", "preprocess.xy_window=1"});
    EXPECT_EQ(result.status, 2);
    EXPECT_NE(result.err.find("neighbouring pixels do not differ"), std::string::npos) << result.err;
    EXPECT_EQ(contents(path(".")), now);
  }
  // The folder of the model cannot be made.
  std::filesystem::create_directory(path("found"));
  write_bytes(path("found/model"), "");
  const auto with_folder = contents(path("."));
  expect_mistake(program("detect", {"film.hspy", "--minutes", "0.01", "--output", "found"}),
                 {"found/model: exists, but is not a folder"});
  EXPECT_EQ(contents(path(".")), with_folder);
}

TEST_F(AutomaticTest, AScoreThatNeedsAModelHasIt) {
  record("24", "none");
  const ProgramResult result = program(
      "detect", {"film.hspy", "--minutes", "0.03", "--output", "found", "--set", "detection.score=latent"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("The model "), std::string::npos) << result.out;
}

TEST_F(AutomaticTest, WantsAScan) {
  const ProgramResult result = program("detect", {});
  EXPECT_EQ(result.status, 2);
  EXPECT_NE(result.err.find("no data"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace eelsvae
