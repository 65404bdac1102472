// A scan and nothing else.

#include <filesystem>

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

TEST_F(AutomaticTest, WantsAScan) {
  const ProgramResult result = program("detect", {});
  EXPECT_EQ(result.status, 2);
  EXPECT_NE(result.err.find("no data"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace eelsvae
