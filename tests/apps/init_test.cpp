// A configuration that is written for a scan.

#include <filesystem>

#include "io/config/config.h"
#include "tests/apps/programs_test.h"

namespace eelsvae {
namespace {

class InitTest : public ProgramsTest {
 protected:
  ProgramResult init(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"--init", "film.hspy"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return program("train", arguments);
  }
};

TEST_F(InitTest, ItRunsAsItIs) {
  simulate_film();
  const auto before = contents(path("."));
  const ProgramResult written = init();
  ASSERT_EQ(written.status, 0) << written.err;
  EXPECT_EQ(contents(path(".")), before);
  const Config config = parse_config(written.out, "mine.json");
  EXPECT_EQ(to_json_text(config), written.out) << "nothing but JSON, and complete";
  EXPECT_EQ(config.data.data_path, "film.hspy");
  EXPECT_EQ(config.tiles.image_size, 8);
  ASSERT_TRUE(config.data.energy_range);
  EXPECT_NEAR((*config.data.energy_range)[0], 700, 1e-6);
  // Why each choice was made, a line each.
  for (const char* key : {"data.energy_range", "loss.dose", "tiles.image_size 8", "preprocess.sigma 0",
                          "preprocess.despike", "preprocess.set_aside", "model.channels", "training.epochs"})
    EXPECT_NE(written.err.find(key), std::string::npos) << key << " is not in\n" << written.err;

  write_bytes(path("mine.json"), written.out);
  const ProgramResult trained =
      program("train", {"--config", "mine.json", "--output", "run", "--set", "training.epochs=1"});
  ASSERT_EQ(trained.status, 0) << trained.err;
  EXPECT_TRUE(std::filesystem::exists(path("run/model.safetensors")));
  // All energies that the scan has are the same as no range.
  EXPECT_NE(trained.out.find("22 x 26 pixels, 64 channels from 700 eV"), std::string::npos) << trained.out;
}

// What is chosen follows what --set says of it, so that it runs as it is, too.
TEST_F(InitTest, FollowsTheSettings) {
  simulate_film();
  const auto chosen = [&](const std::vector<std::string>& settings) {
    std::vector<std::string> more;
    for (const std::string& setting : settings) more.insert(more.end(), {"--set", setting});
    const ProgramResult written = init(more);
    EXPECT_EQ(written.status, 0) << written.err;
    write_bytes(path("mine.json"), written.out);
    const ProgramResult trained = program("train", {"--config", "mine.json", "--output",
                                                    "run-" + settings.front(), "--set", "training.epochs=1"});
    EXPECT_EQ(trained.status, 0) << trained.err;
    return parse_config(written.out, "mine.json");
  };
  EXPECT_EQ(chosen({"tiles.image_size=4"}).tiles.sliding_window_stride, 2);
  const double dose = chosen({"training.seed=2"}).loss.dose;
  const Config binned = chosen({"preprocess.bin_energy=2"});
  EXPECT_NEAR(binned.loss.dose, 2 * dose, 0.5 * dose) << "of half as many channels with twice the counts";
  expect_mistake(init({"--set", "preprocess.bin_xy=2"}), {"film.hspy: no model, for the image has no room"});
  expect_mistake(init({"--set", "data.energy_range=702,705"}),
                 {"film.hspy: no model, for the image has fewer than 16 energy"});
}

// Nothing is written that a training would refuse, or that makes its loss no number at once.
TEST_F(InitTest, RefusesWhatATrainingWould) {
  simulate_film();
  expect_mistake(init({"--set", "tiles.image_size=24"}),
                 {"the image, 22 x 26 pixels, is smaller than a tile, 24 x 24"});
  expect_mistake(init({"--set", "tiles.image_size=20", "--set", "preprocess.crop_y=0,18"}),
                 {"the image, 18 x 26 pixels, is smaller than a tile, 20 x 20"});
  expect_mistake(init({"--set", "tiles.sliding_window_stride=9"}),
                 {"tiles.sliding_window_stride: must not exceed tiles.image_size, 8"});
  expect_mistake(init({"--set", "tiles.anomaly_indices=1000"}), {"tiles.anomaly_indices: there is no tile"});
  expect_mistake(init({"--set", "preprocess.scaling_method=none"}),
                 {"need", "set preprocess.scaling_method to robust_minmax"});
  expect_mistake(init({"--set", "preprocess.scaling_method=none", "--set", "loss.reconstruction=mse"}),
                 {"the counts are not scaled: set preprocess.scaling_method to robust_minmax"});
}

TEST_F(InitTest, TheRulesAreThoseOfADetectionAlone) {
  simulate_film();
  const ProgramResult written =
      init({"--set", "data.energy_range=702,715", "--set", "preprocess.crop_y=0,20"});
  ASSERT_EQ(written.status, 0) << written.err;
  EXPECT_NE(written.err.find("data.energy_range=702,715: by --set"), std::string::npos) << written.err;
  ASSERT_EQ(program("detect", {"film.hspy", "--minutes", "0", "--set", "data.energy_range=702,715", "--set",
                               "preprocess.crop_y=0,20"})
                .status,
            0);
  EXPECT_EQ(read_bytes(path("found/config.json")), written.out);
}

TEST_F(InitTest, WritesNothingElseToStdout) {
  simulate_film();
  write_config();
  for (const std::vector<std::string>& more : {std::vector<std::string>{"--plan"},
                                               {"--resume"},
                                               {"--output", "mine"},
                                               {"--minutes", "1"},
                                               {"--config", "tiny.json"},
                                               {"tiny.json"},
                                               {"--weights", "a"},
                                               {"--data", "film.hspy"}})
    expect_mistake(init(more), {"--init writes a configuration and does nothing else; leave out "});
  expect_mistake(init({"--set", "tiles.image_size=7"}), {"tiles.image_size"});
  ASSERT_EQ(program("convert", {"film.hspy", "part.hspy", "--set", "preprocess.crop_y=0,6"}).status, 0);
  expect_mistake(program("train", {"--init", "part.hspy"}),
                 {"part.hspy: no model, for the image has no room for two tiles", "--baseline"});
  expect_mistake(program("train", {"--init", "missing.dm4"}), {"missing.dm4"});
  expect_mistake(program("train", {}), {"CONFIG is required", "--init"});
  const ProgramResult full =
      run({"/bin/sh", "-c", program_file("eelsvae-train") + " --init film.hspy > /dev/full"}, options_);
  EXPECT_EQ(full.status, 2);
  EXPECT_NE(full.err.find("cannot write the configuration to stdout: No space"), std::string::npos)
      << full.err;
}

}  // namespace
}  // namespace eelsvae
