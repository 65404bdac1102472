// Output folders: of one program at a time, and of results of one kind.

#include <filesystem>

#include "io/config/config.h"
#include "tests/apps/programs_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;

class OutputFolderTest : public ProgramsTest {
 protected:
  bool exists(const std::string& name) const { return std::filesystem::exists(path(name)); }
  void train_once() {
    simulate_film();
    write_config({{"training", {{"epochs", 1}}}});
    ASSERT_EQ(train("run").status, 0);
  }
  // A training that is at work and has some time to go.
  RunningProgram& long_training(const std::string& output) {
    write_config({{"training", {{"epochs", 100000}}}});
    running_.emplace(app("train", train_arguments(output)), options_);
    EXPECT_TRUE(running_->wait_until([&] { return exists(output + "/last.safetensors"); }));
    return *running_;
  }

 private:
  std::optional<RunningProgram> running_;
};

TEST_F(OutputFolderTest, ASecondTrainingIsRefusedUntilTheFirstIsGone) {
  simulate_film();
  RunningProgram& first = long_training("run");
  for (const char* resume : {"", "--resume"}) {
    const ProgramResult second =
        train("run", *resume ? std::vector<std::string>{resume} : std::vector<std::string>{});
    expect_mistake(second, {"output folder run: another program is writing into it", "--output"});
  }
  EXPECT_EQ(train("run", {"--plan"}).status, 0) << "a plan writes nothing";
  // Its lock goes with it, however it ends.
  first.send(SIGKILL);
  EXPECT_EQ(first.result().status, 128 + SIGKILL);
  RunningProgram resumed(app("train", train_arguments("run", {"--resume"})), options_);
  EXPECT_TRUE(resumed.wait_until([&] { return resumed.out().find("Resuming after") != std::string::npos; }));
  resumed.send(SIGINT);
  const ProgramResult stopped = resumed.result();
  EXPECT_EQ(stopped.status, 130) << stopped.err;
  EXPECT_FALSE(exists("run/.lock"));
}

// Of two that begin at once in a folder that is not there yet, too.
TEST_F(OutputFolderTest, OneOfManyTrainingsWins) {
  simulate_film();
  write_config({{"training", {{"epochs", 60}}}});
  std::vector<std::unique_ptr<RunningProgram>> programs;
  for (int i = 0; i < 4; ++i)
    programs.push_back(std::make_unique<RunningProgram>(app("train", train_arguments("run")), options_));
  int won = 0;
  for (auto& program : programs) {
    const ProgramResult result = program->result();
    won += result.status == 0;
    if (result.status != 0) expect_mistake(result, {"run", "choose another --output"});
  }
  EXPECT_EQ(won, 1);
  EXPECT_EQ(json_lines(path("run/metrics.jsonl")).size(), 60u);
}

TEST_F(OutputFolderTest, AStudyAndADetectionLockTheirFolderToo) {
  train_once();
  RunningProgram& training = long_training("found/model");  // as a detection that trains a model has it
  RunningProgram alone(app("detect", {"film.hspy", "--output", "alone", "--minutes", "5"}), options_);
  ASSERT_TRUE(alone.wait_until([&] { return exists("alone/model/metrics.jsonl"); }));
  for (const std::vector<std::string>& by :
       {std::vector<std::string>{"--model", "run"}, {"--baseline", "mean"}, {}}) {
    std::vector<std::string> arguments = {"film.hspy", "--output", "alone"};
    arguments.insert(arguments.end(), by.begin(), by.end());
    expect_mistake(program("detect", arguments), {"output folder alone: another program"});
  }
  expect_mistake(train("alone/model", {"--resume"}), {"output folder alone/model: another program"});
  alone.send(SIGKILL);
  training.send(SIGKILL);

  const json study_config = {{"preprocess", {{"sigma", 0}}},
                             {"tiles", {{"image_size", 8}, {"sliding_window_stride", 8}}},
                             {"model", {{"channels", {2, 3, 4, 5}}, {"hidden", 8}, {"latent_dim", 3}}},
                             {"training", {{"epochs", 100000}, {"batch_size", 4}}},
                             {"evaluation",
                              {{"presets", {"bfo"}},
                               {"shape", {20, 20, 160}},
                               {"energy_offset_ev", 690},
                               {"seeds", {1}},
                               {"defects", {"fe-shift:2.4"}},
                               {"amounts", {0.03}}}}};
  write_bytes(path("study.json"), study_config.dump());
  RunningProgram study(app("evaluate", {"study.json", "--output", "study"}), options_);
  ASSERT_TRUE(study.wait_until([&] { return exists("study/cells.jsonl"); })) << study.result().err;
  expect_mistake(program("evaluate", {"study.json", "--output", "study", "--resume"}),
                 {"output folder study: another program"});
}

TEST_F(OutputFolderTest, ADetectionReplacesAnotherAsAWhole) {
  train_once();
  ASSERT_EQ(detect("found", {"--save-reconstruction"}).status, 0);
  EXPECT_TRUE(exists("found/reconstruction.npy"));
  ASSERT_EQ(program("detect", {"film.hspy", "--baseline", "mean", "--output", "found", "--set",
                               "preprocess.xy_window=1"})
                .status,
            0);
  EXPECT_FALSE(exists("found/reconstruction.npy"));
  const Config config = read_config(path("found/config.json"));
  EXPECT_EQ(config.data.data_path, "film.hspy");
  EXPECT_EQ(config.preprocess.xy_window, 1);
  // Its own configuration repeats it.
  const std::string scores = read_bytes(path("found/scores.npy"));
  ASSERT_EQ(
      program("detect", {"--baseline", "mean", "--config", "found/config.json", "--output", "found"}).status,
      0);
  EXPECT_EQ(read_bytes(path("found/scores.npy")), scores);
}

TEST_F(OutputFolderTest, ResultsOfSeveralKindsDoNotMix) {
  train_once();
  ASSERT_EQ(program("detect", {"film.hspy", "--baseline", "mean", "--output", "found"}).status, 0);
  std::filesystem::create_directories(path("study"));
  write_bytes(path("study/cells.jsonl"), "");
  const auto before = contents(path("."));
  expect_mistake(detect("run"), {"output folder run: holds a training run (last.safetensors)", "--output"});
  expect_mistake(program("detect", {"film.hspy", "--output", "run"}), {"run: holds a training run"});
  expect_mistake(detect("study"), {"output folder study: holds a study (cells.jsonl)"});
  expect_mistake(train("found", {"--resume"}), {"output folder found: holds a detection (summary.json)"});
  write_bytes(path("study.json"), "{}");
  expect_mistake(program("evaluate", {"study.json", "--output", "found", "--resume"}),
                 {"found: holds a detection"});
  std::filesystem::remove(path("study.json"));
  EXPECT_EQ(contents(path(".")), before);
}

TEST_F(OutputFolderTest, AFolderWithAModelTakesOnlyWhatThatFinds) {
  train_once();
  ASSERT_EQ(program("detect",
                    {"film.hspy", "--minutes", "0.02", "--output", "found", "--set", "tiles.image_size=8"})
                .status,
            0);
  ASSERT_TRUE(exists("found/model/model.safetensors"));
  const auto before = contents(path("."));
  for (const std::vector<std::string>& by :
       {std::vector<std::string>{"--model", "run"}, {"--baseline", "mean"}}) {
    std::vector<std::string> arguments = {"film.hspy", "--output", "found"};
    arguments.insert(arguments.end(), by.begin(), by.end());
    expect_mistake(program("detect", arguments),
                   {"output folder found: holds a model of its own, found/model", "choose another --output"});
  }
  EXPECT_EQ(contents(path(".")), before);
  EXPECT_EQ(program("detect", {"--model", "found/model", "--output", "found"}).status, 0);
}

}  // namespace
}  // namespace eelsvae
