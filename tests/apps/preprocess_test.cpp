// Images that are cropped, cleaned, aligned and binned on their way to the model, and what of it a detection
// on another image needs.

#include "io/files/npy.h"
#include "tests/apps/programs_test.h"

namespace eelsvae {
namespace {

using Shape = std::vector<int64_t>;

class PreprocessProgramsTest : public ProgramsTest {
 protected:
  void SetUp() override {
    for (const std::string seed : {"3", "4"}) {
      const ProgramResult result = program(
          "simulate", {"--shape", "44", "52", "128", "--offset-ev", "700", "--exposure", "100", "--seed",
                       seed, "--output", "film" + seed + ".hspy", "--truth", "truth" + seed + ".npy"});
      ASSERT_EQ(result.status, 0) << result.err;
    }
    write_config({{"data", {{"data_path", "film3.hspy"}}},
                  {"preprocess",
                   {{"crop_y", {4, 44}},
                    {"despike", 8},
                    {"align", "feature"},
                    {"align_window", {708, 736}},
                    {"bin_xy", 2},
                    {"bin_energy", 2}}}});
  }

  Shape scored(const std::string& folder) const { return read_npy(path(folder + "/scores.npy")).shape; }
};

TEST_F(PreprocessProgramsTest, AModelSeesOtherImagesAsItSawItsOwn) {
  const ProgramResult trained = program("train", {"tiny.json", "--output", "run"});
  ASSERT_EQ(trained.status, 0) << trained.err;
  for (const char* said : {"despike: no spike found", "align: spectra shifted by",
                           "binned to 20 x 26 pixels and 700.15 to 737.95 eV (64 channels of 0.6 eV)"})
    EXPECT_NE(read_bytes(path("run/log.txt")).find(said), std::string::npos) << said;

  // The training image keeps its crop; truth is that of the whole image.
  const ProgramResult own = program("detect", {"--model", "run", "--output", "own", "--truth", "truth3.npy"});
  ASSERT_EQ(own.status, 0) << own.err;
  EXPECT_EQ(scored("own"), (Shape{20, 26}));
  EXPECT_NE(own.out.find("Against the truth"), std::string::npos) << own.out << own.err;

  // Another one is scored whole, unless a crop of its own is given.
  ASSERT_EQ(program("detect", {"--model", "run", "--data", "film4.hspy", "--output", "other"}).status, 0);
  EXPECT_EQ(scored("other"), (Shape{22, 26}));
  ASSERT_EQ(program("detect", {"--model", "run", "--data", "film4.hspy", "--output", "part", "--set",
                               "preprocess.crop_x=0,32"})
                .status,
            0);
  EXPECT_EQ(scored("part"), (Shape{22, 16}));

  expect_mistake(program("detect", {"--model", "run", "--output", "no", "--set", "preprocess.bin_xy=1"}),
                 {"preprocess.bin_xy", "belongs to the trained model"});
  expect_mistake(
      program("detect", {"--model", "run", "--output", "no", "--set", "data.energy_range=700,720"}),
      {"data.energy_range", "belongs to the trained model", "detection.window"});
  expect_mistake(
      program("detect", {"--model", "run", "--output", "no", "--set", "preprocess.align_path=film4.hspy"}),
      {"preprocess.align_path", "trained without it"});
  EXPECT_FALSE(std::filesystem::exists(path("no")));
}

TEST_F(PreprocessProgramsTest, TheDriftOfAnotherImageIsAskedForAgain) {
  ASSERT_EQ(
      program("train", {"tiny.json", "--output", "run", "--set", "preprocess.align_path=film4.hspy"}).status,
      0);
  ASSERT_EQ(program("detect", {"--model", "run", "--output", "own"}).status, 0);
  expect_mistake(program("detect", {"--model", "run", "--data", "film4.hspy", "--output", "no"}),
                 {"low-loss image of film4.hspy", "--set preprocess.align_path=FILE"});
  ASSERT_EQ(program("detect", {"--model", "run", "--data", "film4.hspy", "--output", "other", "--set",
                               "preprocess.align_path=film4.hspy"})
                .status,
            0);
  EXPECT_EQ(scored("other"), (Shape{22, 26}));
}

TEST_F(PreprocessProgramsTest, MistakesLeaveNoTrace) {
  const auto before = contents(path("."));
  auto with = [&](const std::vector<std::string>& settings) {
    std::vector<std::string> arguments = {"tiny.json", "--output", "run"};
    for (const std::string& setting : settings) {
      arguments.push_back("--set");
      arguments.push_back(setting);
    }
    return program("train", arguments);
  };
  expect_mistake(with({"preprocess.crop_y=40,60"}), {"preprocess.crop_y", "[40, 60]", "[0, 44]"});
  expect_mistake(with({"preprocess.bin_xy=50"}), {"preprocess.bin_xy is 50"});
  expect_mistake(with({"preprocess.align_window=900,950"}), {"900 to 950 eV", "700 to 738.1 eV"});
  expect_mistake(with({"preprocess.align_window=null"}), {"preprocess.align_window", "needed"});
  expect_mistake(with({"preprocess.align=zero_loss", "preprocess.align_window=null"}),
                 {"0 eV", "preprocess.align_path"});
  expect_mistake(with({"preprocess.align_path=missing.dm4"}), {"missing.dm4", "No such file"});
  expect_mistake(with({"data.energy_range=900,950"}), {"data.energy_range", "700 to 738.1 eV"});
  EXPECT_EQ(contents(path(".")), before);
}

}  // namespace
}  // namespace eelsvae
