// Scans that are scored anew by what was learned from one of them meanwhile. The program that learns is a
// script here; the real one is in tests/apps/serve_test.py.

#include "io/serve/improving_scans.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "engine/detect/kept_detection.h"
#include "io/model/detection_state_file.h"
#include "io/serve/row_scans.h"
#include "kernels/error.h"
#include "tests/io/file_test.h"
#include "tests/io/serve/noisy_film.h"

namespace eelsvae {
namespace {

using namespace noisy;

namespace fs = std::filesystem;

LearnFromRows learning_by(const std::string& baseline) {
  LearnFromRows learning;
  learning.baseline = parse_baseline(baseline);
  learning.rows = learned;
  learning.preprocess.xy_window = 1;
  return learning;
}

std::vector<float> copied(std::span<const float> scores) {
  return {scores.begin(), scores.end()};
}
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class ImprovingScansTest : public FileTest {
 protected:
  ImprovingScansTest() {
    const LearnFromRows learning = learning_by("mean");
    state = std::make_shared<const DetectionState>(
        learn_state(SpectrumImageView(image).rows(0, height).copy(), learning.baseline, learning.preprocess,
                    learning.detection, std::nullopt));
    write_detection_state(folder + "/learned.safetensors", *state);
    // The program's options are DATA --output FOLDER ...
    write_program("mkdir -p \"$3/model\" && cp \"" + folder +
                  "/learned.safetensors\" \"$3/state.safetensors\"");
    setenv("EELSVAE_DETECT", (folder + "/program").c_str(), 1);
  }
  ~ImprovingScansTest() override { unsetenv("EELSVAE_DETECT"); }

  void write_program(const std::string& line) {
    const std::string program = folder + "/program";
    fs::remove(program);
    std::ofstream(program) << "#!/bin/sh\n" << line << "\n";
    fs::permissions(program, fs::perms::owner_all);
  }
  NetworkTrainingOptions options(std::optional<int64_t> rows = std::nullopt) const {
    NetworkTrainingOptions options;
    options.folder = folder + "/live";
    options.rows = rows;
    return options;
  }
  std::unique_ptr<ImprovingScans> scans(std::optional<int64_t> rows = std::nullopt) const {
    return std::make_unique<ImprovingScans>(std::make_unique<LearningScans>(learning_by("local")),
                                            options(rows), std::vector<std::string>());
  }
  void push(LiveScan& scan, int64_t first, int64_t count) const {
    scan.push(first, count, {image.spectrum(first), static_cast<size_t>(count * channels)});
  }
  // All the lines until one has the text.
  static std::string news_of(LiveScanSource& source, const std::string& text) {
    std::string lines;
    for (int i = 0; i < 3000 && lines.find(text) == std::string::npos; ++i) {
      for (const std::string& line : source.news()) lines += line + "\n";
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_NE(lines.find(text), std::string::npos) << lines;
    return lines;
  }
  static bool renewed(LiveScan& scan) {
    for (int i = 0; i < 3000; ++i) {
      if (scan.renew()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  const SpectrumImage image = film();
  const ScanPlan plan = {height, width, image.energy, {}};
  const std::string folder = path("");
  std::shared_ptr<const DetectionState> state;
};

TEST_F(ImprovingScansTest, AScanThatHasEndedIsScoredAnew) {
  const std::unique_ptr<ImprovingScans> source = scans();
  EXPECT_EQ(source->better(plan), nullptr);
  const std::unique_ptr<LiveScan> scan = source->open(plan);
  push(*scan, 0, 100);
  push(*scan, 90, 10);  // one row of them is complete
  push(*scan, 101, height * width - 101);
  EXPECT_FALSE(scan->renew());
  scan->finish();
  const ScanCounts counts = scan->counts();
  EXPECT_EQ(counts.missing, 1);
  EXPECT_NE(scan->scored_by().find("local"), std::string::npos);
  news_of(*source, "from now on");
  ASSERT_TRUE(renewed(*scan));
  EXPECT_FALSE(scan->renew()) << "twice";

  const std::unique_ptr<LiveScan> expected = ScansByState(state, "state").open(plan);
  push(*expected, 0, 100);
  push(*expected, 101, height * width - 101);
  expected->finish();
  EXPECT_TRUE(same_bits(copied(scan->scores()), copied(expected->scores())));
  EXPECT_EQ(scan->threshold(), expected->threshold());
  EXPECT_EQ(scan->final_rows(), height);
  EXPECT_EQ(scan->counts(), counts);
  EXPECT_NE(scan->scored_by().find("found"), std::string::npos) << scan->scored_by();

  // The next one is scored by it from the beginning; one of other energies is not.
  ASSERT_NE(source->better(plan), nullptr);
  const std::unique_ptr<LiveScan> next = source->better(plan)->open(plan);
  push(*next, 0, 2 * width);
  next->score_provisionally();
  EXPECT_EQ(next->scored_rows(), 2) << "it learns from its first rows";
  ScanPlan other = plan;
  other.energy.offset = 500;
  EXPECT_EQ(source->better(other), nullptr);
  EXPECT_NE(source->open(other)->scored_by().find("local"), std::string::npos);
}

TEST_F(ImprovingScansTest, ARunningScanIsCaughtUpWith) {
  const std::unique_ptr<ImprovingScans> source = scans(10);
  const std::unique_ptr<LiveScan> scan = source->open(plan);
  push(*scan, 0, 9 * width);
  EXPECT_TRUE(source->news().empty()) << "too few rows";
  push(*scan, 9 * width, width);
  news_of(*source, "from now on");
  push(*scan, 10 * width, 5 * width);
  push(*scan, 17 * width + 3, 4);  // a part of a later row
  ASSERT_TRUE(renewed(*scan));
  EXPECT_EQ(scan->complete_rows(), 15);
  push(*scan, 15 * width, 2 * width + 3);
  push(*scan, 17 * width + 7, height * width - 17 * width - 7);
  scan->finish();
  EXPECT_EQ(scan->counts(), (ScanCounts{height * width, 0, 0, 0}));

  const std::unique_ptr<LiveScan> expected = ScansByState(state, "state").open(plan);
  push(*expected, 0, height * width);
  expected->finish();
  EXPECT_TRUE(same_bits(copied(scan->scores()), copied(expected->scores())));
}

// One that what was learned cannot keep up with is scored by it when it has ended.
TEST_F(ImprovingScansTest, AFastScanIsScoredAnewInTheEnd) {
  const std::unique_ptr<ImprovingScans> source = scans();
  {
    const std::unique_ptr<LiveScan> first = source->open(plan);
    push(*first, 0, height * width);
    first->finish();
    news_of(*source, "from now on");
  }
  const std::unique_ptr<LiveScan> scan = source->open(plan);
  push(*scan, 0, height * width);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(scan->renew());
  scan->finish();
  ASSERT_TRUE(renewed(*scan));
  EXPECT_NE(scan->scored_by().find("found"), std::string::npos) << scan->scored_by();
  EXPECT_EQ(std::distance(fs::directory_iterator(options().folder), {}), 1)
      << "only the first was trained on";
}

TEST_F(ImprovingScansTest, AFailureIsSaidAndTriedAgainTwice) {
  write_program("echo 'the last words'; exit 3");
  const std::unique_ptr<ImprovingScans> source = scans();
  for (int number = 1; number <= 4; ++number) {
    const std::unique_ptr<LiveScan> scan = source->open(plan);
    push(*scan, 0, height * width);
    scan->finish();
    if (number == 4) {
      EXPECT_TRUE(source->news().empty()) << "one more";
    } else {
      const std::string lines = news_of(*source, "no network was learned");
      EXPECT_NE(lines.find("the last words"), std::string::npos) << lines;
      EXPECT_EQ(lines.find("no further one is tried") != std::string::npos, number == 3) << lines;
    }
    EXPECT_FALSE(scan->renew());
    EXPECT_TRUE(std::isfinite(scan->scores()[0])) << "the scan goes on as it was";
  }
}

// The baseline scores all the same.
TEST_F(ImprovingScansTest, AScanThatCannotBeKeptIsScored) {
  const std::unique_ptr<ImprovingScans> source = scans();
  fs::remove_all(options().folder);
  const std::unique_ptr<LiveScan> scan = source->open(plan);
  push(*scan, 0, height * width);
  scan->finish();
  EXPECT_TRUE(std::isfinite(scan->scores()[0]));
  news_of(*source, "the scan is not kept for a network: cannot make the folder");
}

TEST_F(ImprovingScansTest, WhatIsTooLittleToLearnFromLeavesNothing) {
  const std::unique_ptr<ImprovingScans> source = scans();
  {
    const std::unique_ptr<LiveScan> scan = source->open(plan);  // broken off
    push(*scan, 0, 2 * width);
    EXPECT_FALSE(fs::is_empty(options().folder));
  }
  EXPECT_TRUE(fs::is_empty(options().folder));
  for (const bool small : {false, true}) {
    if (small) write_program("mkdir -p \"$3\"");  // a detection without a model
    const std::unique_ptr<LiveScan> scan = source->open(plan);
    push(*scan, small ? 0 : 20 * width, small ? height * width : 10 * width);
    scan->finish();
    const std::string lines = news_of(*source, "the next one is tried");
    EXPECT_NE(lines.find(small ? "too small" : "too little"), std::string::npos) << lines;
    EXPECT_TRUE(fs::is_empty(options().folder));
  }
}

TEST_F(ImprovingScansTest, ATrainingThatIsKilledIsSaidToBe) {
  write_program("kill -9 $$");
  const std::unique_ptr<ImprovingScans> source = scans();
  const std::unique_ptr<LiveScan> scan = source->open(plan);
  push(*scan, 0, height * width);
  scan->finish();
  news_of(*source, "no network was learned: it was ended by signal 9");
}

TEST_F(ImprovingScansTest, ATrainingIsEndedWithTheService) {
  write_program("trap 'touch \"" + folder + "/told\"; exit 0' TERM; touch \"" + folder +
                "/there\"; while true; do sleep 0.02; done");
  {
    const std::unique_ptr<ImprovingScans> source = scans();
    const std::unique_ptr<LiveScan> scan = source->open(plan);
    push(*scan, 0, height * width);
    scan->finish();
    for (int i = 0; i < 1000 && !fs::exists(folder + "/there"); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  for (int i = 0; i < 1000 && !fs::exists(folder + "/told"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_TRUE(fs::exists(folder + "/told"));
}

TEST_F(ImprovingScansTest, WhatRunningScansCannotHaveIsRefusedAtOnce) {
  NetworkTrainingOptions wrong = options();
  wrong.settings = {"preprocess.align=zero_loss"};
  EXPECT_THROW(NetworkTraining{wrong}, UserError);
  wrong = options();
  wrong.minutes = 0;
  EXPECT_THROW(NetworkTraining{wrong}, UserError);
  wrong.minutes = NAN;
  EXPECT_THROW(NetworkTraining{wrong}, UserError);
  wrong = options();
  wrong.folder = folder + "/program/live";
  EXPECT_THROW(NetworkTraining{wrong}, UserError) << "below a file";
}

}  // namespace
}  // namespace eelsvae
