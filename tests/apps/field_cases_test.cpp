// Scans as people in the field have them, through the programs.
#include <algorithm>
#include <cmath>
#include <random>

#include "io/files/npy.h"
#include "io/formats/spectrum_image_file.h"
#include "tests/apps/programs_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;

class FieldCase : public ProgramsTest {
 protected:
  // Poisson-like counts of spectra (..., E) with an edge, by a fixed rule; pixel `odd` lacks the edge.
  void write(const std::string& name, std::vector<int64_t> shape, int64_t odd = -1) const {
    const int64_t channels = shape.back();
    int64_t pixels = 1;
    for (size_t d = 0; d + 1 < shape.size(); ++d) pixels *= shape[d];
    std::mt19937 random(1);
    std::vector<float> counts;
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
      for (int64_t e = 0; e < channels; ++e) {
        const double expected = 400 + (e >= channels / 2 && pixel != odd ? 200 : 0);
        counts.push_back(static_cast<float>(std::poisson_distribution<int>(expected)(random)));
      }
    write_npy(path(name), shape, counts.data());
  }
  // Zeros that take no room on the disk.
  void write_empty(const std::string& name, int64_t height, int64_t width, int64_t channels) const {
    std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(height) +
                         ", " + std::to_string(width) + ", " + std::to_string(channels) + "), }";
    header.resize(117, ' ');
    write_bytes(path(name), std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header + "\n");
    std::filesystem::resize_file(path(name), static_cast<uintmax_t>(128 + height * width * channels * 4));
  }
  // eelsvae-convert in so many GB. ulimit -d: what is mapped of a file is not counted, and does not have to
  // be there.
  ProgramResult run_with_little_memory(double gigabytes, const std::string& arguments) const {
    const std::string limits = "ulimit -d " + std::to_string(std::llround(1e6 * gigabytes)) +
                               " && export EELSVAE_CUBE_MEMORY=" + std::to_string(gigabytes / 3);
    return run({"/bin/sh", "-c", limits + " && exec " + program_file("eelsvae-convert") + " " + arguments},
               options_);
  }
};

// 15: 28 GB in which almost nothing was ever written, of which little is used, in 1 GB of memory.
TEST_F(FieldCase, APartOfAFileThatIsLargerThanMemory) {
  write_empty("huge.npy", 2048, 2048, 1700);
  const std::string use =
      "--set data.energy_offset=400 --set data.dispersion=0.5 --set data.energy_range=700,731.5 "
      "--set preprocess.crop_y=1000,1064 --set preprocess.crop_x=500,564";
  const ProgramResult part = run_with_little_memory(1, "huge.npy part.npy " + use);
  ASSERT_EQ(part.status, 0) << part.err;
  EXPECT_EQ(part.out.find("scratch"), std::string::npos) << part.out;
  EXPECT_EQ(read_npy(path("part.npy")).shape, (std::vector<int64_t>{64, 64, 64}));
}

// A part that is larger than memory itself, of which little is left when it is binned.
TEST_F(FieldCase, BinnedWhileItIsRead) {
  write_empty("large.npy", 330, 1024, 512);  // 0.7 GB
  const ProgramResult binned = run_with_little_memory(
      0.25, "large.npy binned.npy --set preprocess.bin_xy=16 --set preprocess.bin_energy=4");
  ASSERT_EQ(binned.status, 0) << binned.err;
  EXPECT_EQ(binned.out.find("scratch"), std::string::npos) << binned.out;
  EXPECT_NE(binned.out.find("10 rows at the bottom left out"), std::string::npos) << binned.out;
  EXPECT_EQ(read_npy(path("binned.npy")).shape, (std::vector<int64_t>{20, 64, 128}));
}

// Spikes and drift are looked for in the whole image, which then lies in a scratch file.
TEST_F(FieldCase, DespikedAndAlignedThroughAScratchFile) {
  ASSERT_EQ(program("simulate", {"--shape", "24", "20", "96", "--offset-ev", "700", "--seed", "3", "--output",
                                 "film.npy"})
                .status,
            0);
  const std::vector<std::string> steps = {
      "preprocess.despike=8",    "preprocess.align=feature", "preprocess.align_window=700,725",
      "preprocess.align_by=row", "preprocess.bin_xy=4",      "preprocess.bin_energy=2",
      "data.energy_offset=700",  "data.dispersion=0.3"};
  const auto convert = [&](const std::string& to) {
    std::vector<std::string> arguments = {"film.npy", to};
    for (const std::string& step : steps) arguments.insert(arguments.end(), {"--set", step});
    const ProgramResult result = program("convert", arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    return result.out;
  };
  EXPECT_EQ(convert("in_memory.npy").find("scratch"), std::string::npos);
  setenv("EELSVAE_CUBE_MEMORY", "0.0001", 1);
  const std::string said = convert("on_disk.npy");
  unsetenv("EELSVAE_CUBE_MEMORY");
  EXPECT_NE(said.find("GB of spectra do not fit into memory and lie in scratch files in"), std::string::npos)
      << said;
  EXPECT_EQ(read_bytes(path("on_disk.npy")), read_bytes(path("in_memory.npy")));
}

// 18
TEST_F(FieldCase, LineScansFromEndToEnd) {
  write("line.npy", {160, 64}, 70);
  for (const std::string baseline : {"mean", "pca:auto", "rx:auto"}) {
    const std::string found = "found-" + baseline.substr(0, 3);
    const ProgramResult result =
        program("detect", {"line.npy", "--baseline", baseline, "--output", found, "--set",
                           "preprocess.sigma=0", "--set", "preprocess.xy_window=1"});
    ASSERT_EQ(result.status, 0) << result.err;
    const NpyArray mask = read_npy(path(found + "/mask.npy"));
    EXPECT_EQ(mask.shape, (std::vector<int64_t>{1, 160}));
    if (baseline != "rx:auto") {
      EXPECT_EQ(mask.values[70], 1) << baseline;
    }
  }
  // By itself, of so few spectra that only a fixed threshold is left.
  write("short.npy", {40, 64}, 20);
  const ProgramResult alone = program("detect", {"short.npy", "--output", "alone"});
  ASSERT_EQ(alone.status, 0) << alone.err;
  const NpyArray mask = read_npy(path("alone/mask.npy"));
  EXPECT_EQ(mask.values[20], 1);
  EXPECT_EQ(std::count(mask.values.begin(), mask.values.end(), 1.f), 1);

  ASSERT_EQ(program("convert", {"line.npy", "line.hspy"}).status, 0);
  EXPECT_EQ(read_spectrum_image(path("line.hspy")).counts, read_spectrum_image(path("line.npy")).counts);
  write_config();
  expect_mistake(program("train", {"tiny.json", "--data", "line.npy"}), {"1 x 160", "baseline"});
}

// 20
TEST_F(FieldCase, InfoAsJsonHoldsWhatTheTextHolds) {
  write("a.npy", {3, 4, 16});
  const ProgramResult info = program("info", {"a.npy", "--json"});
  ASSERT_EQ(info.status, 0) << info.err;
  const json content = json::parse(info.out);
  EXPECT_EQ(content["format"], "NumPy");
  EXPECT_EQ(content["images"][0]["kind"], "spectrum image");
  EXPECT_EQ(content["images"][0]["fault"], "");
}

// 21
TEST_F(FieldCase, TooFewSpectraForAThreshold) {
  write("one.npy", {1, 1, 64});
  write("small.npy", {9, 11, 64});
  const auto detect = [&](const std::string& data, std::vector<std::string> more) {
    more.insert(more.begin(), {data, "--baseline", "mean", "--output", "found"});
    return program("detect", more);
  };
  expect_mistake(detect("small.npy", {}), {"at least 100", "there are 99", "detection.threshold=5"});
  const ProgramResult one = detect("one.npy", {"--set", "detection.threshold=5"});
  EXPECT_EQ(one.status, 2);
  EXPECT_NE(one.err.find("the image, 1 x 1, lie "), std::string::npos) << one.err;
  EXPECT_EQ(detect("small.npy", {"--set", "detection.threshold=5"}).status, 0);
}

// What a setting asks for in vain is said before anything is written.
TEST_F(FieldCase, AnEnergyRangeThatMissesTheImage) {
  write("a.npy", {12, 12, 64});
  const ProgramResult result =
      program("detect", {"a.npy", "--output", "found", "--set", "data.energy_offset=500", "--set",
                         "data.dispersion=1", "--set", "data.energy_range=100,200"});
  expect_mistake(result, {"a.npy", "data.energy_range leaves no channel", "500 to 563 eV"});
  EXPECT_FALSE(std::filesystem::exists(path("found")));
}

TEST_F(FieldCase, ATruthWithoutAnomalies) {
  write("a.npy", {12, 12, 64});
  const std::vector<uint8_t> none(144);
  write_npy(path("none.npy"), {12, 12}, none.data());
  const ProgramResult result =
      program("detect", {"a.npy", "--baseline", "mean", "--truth", "none.npy", "--output", "found", "--set",
                         "preprocess.sigma=0", "--set", "preprocess.xy_window=1"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("Against the truth: nothing is anomalous there"), std::string::npos)
      << result.out;
  const json summary = json::parse(read_bytes(path("found/summary.json")));
  EXPECT_TRUE(summary["recall"].is_null());
  EXPECT_TRUE(summary["f1"].is_null());
}

// A folder of eelsvae-detect holds the run in another.
TEST_F(FieldCase, AFolderThatIsNoRun) {
  write("a.npy", {12, 12, 64});
  std::filesystem::create_directories(path("empty"));
  expect_mistake(program("detect", {"a.npy", "--model", "empty"}),
                 {"empty: is no run folder", "--output of"});
  std::filesystem::create_directories(path("found/model"));
  write_bytes(path("found/model/model.safetensors"), "");
  expect_mistake(program("detect", {"a.npy", "--model", "found"}), {"give found/model"});
}

}  // namespace
}  // namespace eelsvae
