// Thresholds from the scores of spectra that were held out of training.

#include <filesystem>

#include "io/files/npy.h"
#include "tests/apps/programs_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;
using namespace std::string_literals;

constexpr int64_t side = 96;

class ConformalTest : public ProgramsTest {
 protected:
  // A model of a film without defects; half of its 144 tiles, which do not overlap, are held out.
  ConformalTest() {
    write_config({{"preprocess", {{"sigma", 0}, {"xy_window", 1}, {"percentiles", {0.01, 99.99}}}},
                  {"tiles", {{"sliding_window_stride", 8}}},
                  {"loss", {{"dose", 3000}}},
                  {"training", {{"epochs", 20}, {"validation_fraction", 0.5}}},
                  {"detection", {{"threshold_method", "conformal"}, {"fdr", 0.1}}}});
    record("film", {"--defect", "none"});
    const ProgramResult trained = train("run");
    EXPECT_EQ(trained.status, 0) << trained.err;
  }

  // The same specimen around the Fe L edge, each time with noise of its own.
  void record(const std::string& name, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"--shape",         "96", "96",         "64", "--offset-ev", "690",
                                          "--dispersion-ev", "1",  "--exposure", "16", "--seed",      "2"};
    for (const std::string& argument :
         {"--noise-seed"s, std::to_string(++recordings_), "--output"s, name + ".hspy"})
      arguments.push_back(argument);
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProgramResult result = program("simulate", arguments);
    EXPECT_EQ(result.status, 0) << result.err;
  }

  // What is found in an image, into a folder of the image's name.
  std::vector<uint8_t> found_in(const std::string& image) {
    const ProgramResult result =
        program("detect", {"--model", "run", "--data", image + ".hspy", "--output", image});
    EXPECT_EQ(result.status, 0) << result.err;
    const std::string held_out = "4608 spectra of film.hspy were held out of training";
    EXPECT_NE((result.out + result.err).find(held_out), std::string::npos) << result.out << result.err;
    const json summary = json::parse(read_bytes(path(image + "/summary.json")));
    EXPECT_EQ(summary["threshold_method"], "conformal");
    return read_npy_mask(path(image + "/mask.npy"), side, side);
  }

 private:
  int recordings_ = 0;
};

TEST_F(ConformalTest, FindsStrongDefectsAtTheRate) {
  int found = 0, wrong = 0;
  for (const std::string name : {"one", "two", "three"}) {
    record(name, {"--defect", "fe-shift:8@140", "--truth", "truth.npy"});
    const std::vector<uint8_t> mask = found_in(name);
    const std::vector<uint8_t> truth = read_npy_mask(path("truth.npy"), side, side);
    for (size_t pixel = 0; pixel < mask.size(); ++pixel) {
      found += mask[pixel];
      wrong += mask[pixel] && !truth[pixel];
    }
  }
  EXPECT_GE(found - wrong, 3 * 140 - 4);
  // A tenth is 47 of some 467. The threshold is about the eighth highest of the scores that were held out,
  // and what it is off by all three images share: standard deviation sqrt(47 + 47^2 / 8) = 18.
  EXPECT_LT(wrong, 47 + 3 * 18);
  EXPECT_GT(wrong, 0);
}

TEST_F(ConformalTest, FindsNothingInACleanRecording) {
  record("clean", {"--defect", "none"});
  const std::vector<uint8_t> mask = found_in("clean");
  EXPECT_EQ(std::count(mask.begin(), mask.end(), 1), 0);
}

TEST_F(ConformalTest, DoubtsItselfOnAnotherSpecimen) {
  record("alike", {"--defect", "none"});
  record("other", {"--defect", "none", "--preset", "interface"});
  auto reasons = [&](const std::string& image) {
    found_in(image);
    return json::parse(read_bytes(path(image + "/summary.json")))["reasons"].dump();
  };
  EXPECT_EQ(reasons("alike").find("of its own"), std::string::npos) << reasons("alike");
  EXPECT_NE(reasons("other").find("worse than those of its own"), std::string::npos) << reasons("other");
}

// The checkpoint has the scores of what its training held out: the same as those that are made again where
// another stride of the tiles asks for it and gives the same tiles.
TEST_F(ConformalTest, TheCheckpointBringsItsCalibration) {
  found_in("film");
  std::filesystem::rename(path("film.hspy"), path("moved.hspy"));
  record("other", {"--defect", "none"});
  EXPECT_FALSE(found_in("other").empty());
  std::filesystem::rename(path("moved.hspy"), path("film.hspy"));
  const ProgramResult again = program("detect", {"--model", "run", "--data", "other.hspy", "--output",
                                                 "again", "--set", "detection.stride=4"});
  ASSERT_EQ(again.status, 0) << again.err;
  for (const std::string file : {"scores.npy", "mask.npy"})
    EXPECT_EQ(read_bytes(path("other/" + file)), read_bytes(path("again/" + file)));
  auto threshold = [&](const std::string& folder) {
    return json::parse(read_bytes(path(folder + "/summary.json")))["threshold"];
  };
  EXPECT_EQ(threshold("other"), threshold("again"));
}

TEST_F(ConformalTest, MistakesAreToldBeforeAnythingIsWritten) {
  record("clean", {"--defect", "none"});
  auto refused = [&](const std::string& model, const std::vector<std::string>& fragments) {
    const auto before = contents(path("."));
    expect_mistake(program("detect", {"--model", model, "--data", "clean.hspy", "--output", "found", "--set",
                                      "detection.score=deviance"}),
                   fragments);
    EXPECT_EQ(contents(path(".")), before);
  };
  ASSERT_EQ(train("all", {"--set", "training.validation_fraction=0", "--set", "training.epochs=1"}).status,
            0);
  refused("all", {"all/model.safetensors", "held none out", "training.validation_fraction"});
  std::filesystem::rename(path("film.hspy"), path("moved.hspy"));
  refused("run", {"film.hspy"});
}

}  // namespace
}  // namespace eelsvae
