// Detection without a model: by the mean spectrum, principal components or Reed and Xiaoli's distance.

#include <algorithm>
#include <cmath>

#include "io/files/npy.h"
#include "io/formats/hspy.h"
#include "io/formats/spectrum_image_file.h"
#include "tests/apps/programs_test.h"
#include "tests/io/containers/zip_file.h"

namespace eelsvae {
namespace {

using nlohmann::json;

class BaselineTest : public ProgramsTest {
 protected:
  // 40 x 40 pixels around the Fe L edge, 1 % of them shifted by 6 eV, without filters.
  BaselineTest() {
    write_config({{"preprocess", {{"sigma", 0}, {"xy_window", 1}}}});
    simulate("film", 3, {"--truth", "truth.npy"});
  }

  void simulate(const std::string& name, int seed, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {
        "--shape", "40",         "40", "160",    "--offset-ev",        "680",      "--dispersion-ev",
        "0.5",     "--shift-ev", "6",  "--seed", std::to_string(seed), "--output", name + ".hspy"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    if (std::ranges::find(more, "--exposure") == more.end())
      arguments.insert(arguments.end(), {"--exposure", "16"});
    const ProgramResult result = program("simulate", arguments);
    EXPECT_EQ(result.status, 0) << result.err;
  }

  json found_by(const std::string& baseline, const std::string& output,
                const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"--baseline", baseline,  "--data",    "film.hspy", "--config",
                                          "tiny.json",  "--truth", "truth.npy", "--output",  output};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProgramResult result = program("detect", arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    return json::parse(read_bytes(path(output + "/summary.json")));
  }
};

TEST_F(BaselineTest, MeanFindsWhatIsShifted) {
  const json summary = found_by("mean", "found");
  EXPECT_EQ(names_in(path("found")),
            (std::set<std::string>{"scores.hspy", "scores.npy", "mask.npy", "scores.png", "histogram.png",
                                   "regions.csv", "config.json", "summary.json", "report.html", "log.txt",
                                   "state.safetensors"}));
  EXPECT_EQ(summary["model"], "mean spectrum, fitted to 1600 spectra");
  ASSERT_EQ(summary["inputs"].size(), 1u);
  EXPECT_EQ(summary["inputs"][0]["sha256"].get<std::string>().size(), 64u);
  EXPECT_EQ(summary["choices"].back(), summary["model"]);
  EXPECT_EQ(summary["configuration"]["detection"]["fdr"], 0.05);
  EXPECT_EQ(summary["score"], "whitened");
  EXPECT_EQ(summary["threshold_method"], "fdr");
  EXPECT_EQ(summary["fdr"], 0.05);
  EXPECT_GT(summary["f1"], 0.85);
  EXPECT_GT(summary["null"]["normal_share"], 0.95);
  EXPECT_GT(summary["expected_false_alarms"], 0);
  EXPECT_LT(summary["expected_false_alarms"], 4);
  EXPECT_GT(summary["regions"], 8);
  // A line for each, with the edge at which iron was changed, and others' names only where they are wanted.
  const std::string table = read_bytes(path("found/regions.csv"));
  EXPECT_TRUE(table.starts_with("region,pixels,area [nm^2],y [nm],x [nm],strongest y [px],"))
      << table.substr(0, 100);
  EXPECT_EQ(std::ranges::count(table, '\n'), summary["regions"].get<int>() + 1);
  EXPECT_NE(table.find("\"Fe L3 708"), std::string::npos) << table;
  found_by("mean", "found", {"--set", "detection.elements=Co,Bi"});
  const std::string others = read_bytes(path("found/regions.csv"));
  EXPECT_EQ(others.find("Fe"), std::string::npos);
  EXPECT_EQ(std::ranges::count(others, '\n'), std::ranges::count(table, '\n'));
  expect_mistake(program("detect", {"film.hspy", "--baseline", "mean", "--set", "detection.elements=Iron"}),
                 {"detection.elements", "symbols of elements"});
}

TEST_F(BaselineTest, OthersStandBesideIt) {
  const json alone = found_by("mean", "alone");
  EXPECT_EQ(alone["beside"], json::array());
  const json summary = found_by("mean", "found", {"--beside", "pca:2", "--beside", "rx:5"});
  for (const char* key : {"threshold", "anomalous_pixels", "f1"}) EXPECT_EQ(summary[key], alone[key]) << key;
  const json by_itself = found_by("pca:2", "itself");
  ASSERT_EQ(summary["beside"].size(), 2u);
  for (const char* key : {"model", "score", "threshold", "anomalous_pixels", "f1", "average_precision"})
    EXPECT_EQ(summary["beside"][0][key], by_itself[key]) << key;
  EXPECT_EQ(summary["beside"][1]["score"], "own");
  EXPECT_NE(read_bytes(path("found/log.txt")).find("Beside it, PCA, 2 components ("), std::string::npos);
  expect_mistake(program("detect", {"film.hspy", "--baseline", "mean", "--beside", "median"}), {"pca:auto"});
  // What cannot be told beside it does not take it away.
  EXPECT_EQ(found_by("mean", "found", {"--beside", "pca:5000"})["beside"], json::array());
  EXPECT_NE(read_bytes(path("found/log.txt")).find("Not beside it, pca:5000: "), std::string::npos);
}

TEST_F(BaselineTest, ADescriptionThatIsWrongByMoreThanTheNoiseIsNotTrusted) {
  EXPECT_TRUE(found_by("mean", "homogeneous")["trusted"]);
  simulate("film", 3, {"--preset", "interface", "--exposure", "1000", "--truth", "truth.npy"});
  const json summary = found_by("mean", "interface");
  EXPECT_GT(summary["predictive_deviance"]["mean"], 2);
  EXPECT_FALSE(summary["trusted"]);
  EXPECT_NE(summary["reasons"].dump().find("wrong by more than their noise"), std::string::npos)
      << summary["reasons"];
}

// Where cubes may take no memory, they lie in scratch files, with every filter on their way.
TEST_F(BaselineTest, ACubeOnDiskGivesTheSameBits) {
  write_config({{"preprocess", {{"sigma", 0.5}, {"xy_window", 3}}}});
  found_by("pca:2", "in_memory");
  setenv("EELSVAE_CUBE_MEMORY", "0", 1);
  const ProgramResult result = program("detect", {"--baseline", "pca:2", "--data", "film.hspy", "--config",
                                                  "tiny.json", "--output", "on_disk"});
  setenv("EELSVAE_CUBE_MEMORY", "much", 1);
  const ProgramResult mistake = program("detect", {"--baseline", "mean", "--data", "film.hspy"});
  unsetenv("EELSVAE_CUBE_MEMORY");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("GB of spectra do not fit into memory and lie in scratch files in"),
            std::string::npos)
      << result.out;
  EXPECT_EQ(read_bytes(path("on_disk/scores.npy")), read_bytes(path("in_memory/scores.npy")));
  EXPECT_EQ(mistake.status, 2);
  EXPECT_EQ(mistake.err, "eelsvae-detect: EELSVAE_CUBE_MEMORY is 'much'; it must be a number of GB\n");
}

TEST_F(BaselineTest, PrincipalComponentsAndReedXiaoliDetectToo) {
  EXPECT_EQ(found_by("pca:2", "pca")["score"], "whitened");
  const json own = found_by("rx", "rx");
  EXPECT_EQ(own["score"], "own") << "its distance";
  // What is expected is ours, and the doubts about other programs' are none of it, wherever the mean is far
  // off.
  simulate("film", 3, {"--preset", "interface", "--exposure", "1000", "--truth", "truth.npy"});
  EXPECT_EQ(found_by("rx", "rx_far")["reasons"].dump().find("other units"), std::string::npos);
  simulate("film", 3, {"--truth", "truth.npy"});
  EXPECT_NE(read_bytes(path("pca/scores.npy")), read_bytes(path("rx/scores.npy")));
  const std::string model = own["model"];
  EXPECT_EQ(model.find("mean spectrum"), std::string::npos) << model;
}

// What another program expects, in counts, is scored as ours are.
TEST_F(BaselineTest, AnotherProgramsExpectation) {
  ASSERT_EQ(program("convert", {"film.hspy", "film.npy"}).status, 0);
  const NpyArray film = read_npy(path("film.npy"));
  const size_t channels = 160, pixels = film.values.size() / channels;
  std::vector<double> mean(channels), totals(pixels);
  double all = 0;
  for (size_t k = 0; k < film.values.size(); ++k) {
    const double count = film.values[k];
    mean[k % channels] += count, totals[k / channels] += count, all += count;
  }
  // The share of each spectrum itself beside the mean spectrum of its total.
  const auto expected = [&](const std::string& name, double share) {
    std::vector<float> counts(film.values.size());
    for (size_t k = 0; k < counts.size(); ++k)
      counts[k] = static_cast<float>((1 - share) * mean[k % channels] * totals[k / channels] / all +
                                     share * film.values[k]);
    write_npy(path(name), {40, 40, static_cast<int64_t>(channels)}, counts.data());
  };
  const auto detect = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"film.hspy", "--config", "tiny.json", "--truth",
                                          "truth.npy", "--output", "found"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return program("detect", arguments);
  };
  const auto summary = [&] { return json::parse(read_bytes(path("found/summary.json"))); };
  expected("mean.npy", 0);
  ASSERT_EQ(detect({"--expectation", "mean.npy"}).status, 0);
  EXPECT_EQ(summary()["model"], "mean.npy");
  EXPECT_EQ(summary()["inputs"].size(), 2u);
  EXPECT_TRUE(summary()["trusted"]) << summary()["reasons"];
  EXPECT_NEAR(summary()["f1"], found_by("mean", "ours")["f1"], 0.02);
  // Crops, bins and ranges are those of the image.
  const ProgramResult part = detect({"--expectation", "mean.npy", "--set", "preprocess.crop_y=4,36", "--set",
                                     "preprocess.bin_energy=2", "--set", "data.energy_range=690,740"});
  EXPECT_EQ(part.status, 0) << part.err;
  EXPECT_GT(summary()["f1"], 0.8);

  expected("copied.npy", 0.5);
  ASSERT_EQ(detect({"--expectation", "copied.npy"}).status, 0);
  EXPECT_FALSE(summary()["trusted"]);
  EXPECT_NE(summary()["reasons"].dump().find(" % of the noise of the spectra"), std::string::npos)
      << summary()["reasons"];

  ASSERT_EQ(program("convert", {"film.hspy", "part.npy", "--set", "preprocess.crop_y=0,30"}).status, 0);
  expect_mistake(detect({"--expectation", "part.npy"}),
                 {"part.npy: has 30 x 40 pixels", "has 40 x 40 pixels"});
  expect_mistake(detect({"--expectation", "mean.npy", "--baseline", "mean"}), {"one of --model RUN"});
  expect_mistake(detect({"--expectation", "mean.npy", "--fit", "film.hspy"}),
                 {"--fit belongs to --baseline"});
  expect_mistake(detect({"--expectation", "mean.npy", "--minutes", "1"}),
                 {"leave it out with --expectation"});
  expect_mistake(detect({"--expectation", "mean.npy", "--set", "preprocess.align=strongest"}),
                 {"preprocess.align"});
}

// What a file with an expectation says of itself is not passed over.
TEST_F(BaselineTest, AnExpectationAmongOthersOrOfOtherEnergies) {
  ASSERT_EQ(program("convert", {"film.hspy", "film.npy"}).status, 0);
  NpyArray film = read_npy(path("film.npy"));
  for (float& count : film.values) count += 1;
  write_npy(path("more.npy"), film.shape, film.values.data());
  const auto detect = [&](const std::string& expectation, std::vector<std::string> more = {}) {
    more.insert(more.begin(),
                {"film.hspy", "--config", "tiny.json", "--expectation", expectation, "--output", "found"});
    return program("detect", more);
  };
  const auto archive = [&](const std::string& name, const std::vector<std::string>& arrays) {
    std::vector<ZipFileMember> members;
    for (const std::string& array : arrays) members.push_back({array, read_bytes(path(array))});
    write_bytes(path(name), zip_file(members));
  };
  archive("two.npz", {"film.npy", "more.npy"});
  expect_mistake(detect("two.npz"),
                 {"two.npz: holds 2 images of the size of the spectrum image, 'film' and 'more'",
                  "give a file that holds the expectation alone"});
  // An image of another size beside it is none.
  ASSERT_EQ(program("convert", {"film.hspy", "low.npy", "--set", "preprocess.bin_energy=2"}).status, 0);
  archive("other.npz", {"low.npy", "more.npy"});
  ASSERT_EQ(detect("other.npz").status, 0);
  const std::string scores = read_bytes(path("found/scores.npy"));
  ASSERT_EQ(detect("more.npy").status, 0);
  EXPECT_EQ(read_bytes(path("found/scores.npy")), scores);

  const auto with_energies = [&](double shift) {
    SpectrumImage image = read_spectrum_image(path("film.hspy"));
    image.counts.assign(film.values.begin(), film.values.end());
    image.energy.offset += shift;
    write_hspy(path("shifted.hspy"), image);
    return detect("shifted.hspy");
  };
  EXPECT_EQ(with_energies(0.2).status, 0);
  expect_mistake(with_energies(50),
                 {"shifted.hspy: its energies are ", "those of the spectrum image", "data.energy_offset"});
  // One key alone is of the image.
  for (const char* key : {"data.energy_offset=680", "data.dispersion=0.5"})
    expect_mistake(detect("shifted.hspy", {"--set", key}), {"shifted.hspy: its energies are "});
  EXPECT_EQ(
      detect("shifted.hspy", {"--set", "data.energy_offset=680", "--set", "data.dispersion=0.5"}).status, 0);
}

// Where the image has no counts nothing is expected.
TEST_F(BaselineTest, AnExpectationIsNotAskedForWhatIsSetAside) {
  ASSERT_EQ(program("convert", {"film.hspy", "film.npy"}).status, 0);
  NpyArray film = read_npy(path("film.npy"));
  const size_t channels = 160, pixel = 7 * 40 + 9;
  const auto fill = [&](float count) {
    std::fill_n(film.values.begin() + static_cast<std::ptrdiff_t>(pixel * channels), channels, count);
  };
  fill(0);
  write_npy(path("dead.npy"), film.shape, film.values.data());
  std::ranges::rotate(film.values, film.values.begin() + 3 * 40 * static_cast<std::ptrdiff_t>(channels));
  fill(NAN);
  write_npy(path("nan.npy"), film.shape, film.values.data());
  const auto detect = [&](const std::vector<std::string>& settings) {
    std::vector<std::string> arguments = {"dead.npy", "--config", "tiny.json", "--expectation",
                                          "nan.npy",  "--output", "found"};
    for (const std::string& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
    return program("detect", arguments);
  };
  for (const std::vector<std::string>& settings : {std::vector<std::string>{},
                                                   {"preprocess.bin_xy=2"},
                                                   {"preprocess.crop_y=5,37", "preprocess.crop_x=2,40"}}) {
    const ProgramResult result = detect(settings);
    EXPECT_EQ(result.status, 0) << result.err;
  }
  expect_mistake(detect({"preprocess.set_aside=0"}),
                 {"nan.npy: 1 pixel holds counts that are not finite", "(7, 9, 0)"});
  // Nor where it is excluded in rows that make no bin.
  std::ranges::rotate(film.values, film.values.begin() + 8 * 40 * static_cast<std::ptrdiff_t>(channels));
  write_npy(path("nan.npy"), film.shape, film.values.data());
  const ProgramResult surplus =
      detect({"preprocess.bin_xy=3", "data.exclude=39,0,40,40", "preprocess.set_aside=0"});
  EXPECT_EQ(surplus.status, 0) << surplus.err;
}

// Prepared as the image under test is, with its scaling, so another image's counts are on the same scale.
TEST_F(BaselineTest, IsFittedToAnotherImage) {
  simulate("normal", 4, {"--anomalies", "0"});
  const json own = found_by("mean", "own"), other = found_by("mean", "other", {"--fit", "normal.hspy"});
  EXPECT_NE(read_bytes(path("own/scores.npy")), read_bytes(path("other/scores.npy")));
  EXPECT_GT(other["f1"], 0.7);
  // The image itself is no other.
  const json same = found_by("mean", "same", {"--fit", "film.hspy"});
  EXPECT_EQ(same["threshold"], own["threshold"]);
  EXPECT_EQ(read_bytes(path("own/scores.npy")), read_bytes(path("same/scores.npy")));
}

TEST_F(BaselineTest, ScoresAndThresholdsAreSetOnTheCommandLine) {
  for (const std::string score : {"combined", "deviance", "pearson", "pearson_background"}) {
    const json summary = found_by("mean", score, {"--set", "detection.score=" + score});
    EXPECT_EQ(summary["score"], score);
    for (float value : read_npy(path(score + "/scores.npy")).values) ASSERT_TRUE(std::isfinite(value));
  }
  const json otsu = found_by("mean", "otsu", {"--set", "detection.threshold_method=otsu"});
  EXPECT_EQ(otsu["threshold_method"], "otsu");
  EXPECT_FALSE(otsu.contains("fdr"));
  EXPECT_NE(read_bytes(path("otsu/mask.npy")), "");
}

// What was measured in one scan scores the next of the same specimen.
TEST_F(BaselineTest, AStateScoresTheNextScan) {
  found_by("pca:2", "found");
  simulate("next", 3, {"--noise-seed", "8"});
  ProgramResult result = program("detect", {"next.hspy", "--state", "found", "--output", "found_next"});
  ASSERT_EQ(result.status, 0) << result.err;
  const json first = json::parse(read_bytes(path("found/summary.json"))),
             next = json::parse(read_bytes(path("found_next/summary.json")));
  EXPECT_EQ(next["model"], first["model"]);
  EXPECT_EQ(next["configuration"]["preprocess"], first["configuration"]["preprocess"]);
  EXPECT_EQ(next["inputs"].size(), 2u) << "the state is one";
  EXPECT_FALSE(std::filesystem::exists(path("found_next/state.safetensors"))) << "it is the first scan's";
  // In its own scan it finds what was found there.
  result = program("detect", {"film.hspy", "--state", "found/state.safetensors", "--output", "again"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(read_bytes(path("again/scores.npy")), read_bytes(path("found/scores.npy")));

  const auto refused = [&](const std::vector<std::string>& arguments, const std::string& says) {
    const ProgramResult mistake = program("detect", arguments);
    EXPECT_EQ(mistake.status, 2);
    EXPECT_NE(mistake.err.find(says), std::string::npos) << mistake.err;
  };
  refused({"next.hspy", "--state", "found", "--baseline", "mean"}, "leave --baseline");
  refused({"next.hspy", "--state", "found", "--set", "preprocess.sigma=1"}, "belongs to the state");
  refused({"next.hspy", "--state", "found_next"}, "holds no state.safetensors");
  refused({"--state", "found"}, "no data");
  refused({"next.hspy", "--state", "found", "--config", "tiny.json"}, "leave --config out");
  refused({"next.hspy", "--state", "found", "--set", "data.energy_offset=700"}, "eV");
  // A detection that cannot be kept leaves no state behind.
  found_by("mean", "found", {"--set", "detection.score=joint"});
  EXPECT_FALSE(std::filesystem::exists(path("found/state.safetensors")));
}

}  // namespace
}  // namespace eelsvae
