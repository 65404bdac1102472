// Stopping and going on: by Ctrl-C, by kill -9, by a finished run that is extended.

#include <cstring>
#include <thread>

#include "io/files/safetensors.h"
#include "tests/apps/programs_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;

class ResumeTest : public ProgramsTest {
 protected:
  // Threads as users have them, but none that spins while others need its processor.
  void use_threads() { options_.environment = {{"OMP_NUM_THREADS", "2"}, {"GOMP_SPINCOUNT", "1000"}}; }

  // Everything that a run carries from epoch to epoch is in use: augmentation, validation, a falling learning
  // rate, a rising KL weight.
  void prepare(int epochs, int stride = 2) {
    simulate_film();
    write_config({{"tiles", {{"sliding_window_stride", stride}}},
                  {"loss", {{"kl_warmup_epochs", 3}}},
                  {"training",
                   {{"epochs", epochs},
                    {"batch_size", 2},
                    {"augment", true},
                    {"validation_fraction", 0.1},
                    {"lr_patience", 1},
                    {"learning_rate", 0.03}}}});
  }

  size_t epochs_done(const std::string& run) const {
    std::ifstream file(path(run + "/metrics.jsonl"));
    return static_cast<size_t>(
        std::count(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>(), '\n'));
  }
  bool exists(const std::string& name) const { return std::filesystem::exists(path(name)); }

  // What a killed run leaves can be read: whole files or none.
  void expect_readable(const std::string& run) const {
    for (const char* name : {"/model.safetensors", "/last.safetensors"})
      if (exists(run + name)) {
        const SafetensorsFile file(path(run + name));
        EXPECT_FALSE(file.names().empty());
      }
    if (exists(run + "/metrics.jsonl")) json_lines(path(run + "/metrics.jsonl"));
    if (exists(run + "/config.json")) {
      EXPECT_NO_THROW(json::parse(read_bytes(path(run + "/config.json"))));
    }
  }

  void expect_same_run(const std::string& a, const std::string& b) const {
    auto without_seconds = [](std::vector<json> records) {
      for (json& record : records) record.erase("seconds");
      return records;
    };
    // A best model from before a run was extended keeps the number that it was written with.
    auto without_epochs = [](const std::string& text) {
      json config = json::parse(text);
      config["training"].erase("epochs");
      return config;
    };
    EXPECT_EQ(without_seconds(json_lines(path(a + "/metrics.jsonl"))),
              without_seconds(json_lines(path(b + "/metrics.jsonl"))));
    EXPECT_EQ(read_bytes(path(a + "/config.json")), read_bytes(path(b + "/config.json")));
    for (const char* name : {"/model.safetensors", "/last.safetensors"}) {
      const SafetensorsFile first(path(a + name)), second(path(b + name));
      ASSERT_EQ(first.names(), second.names());
      for (const std::string& tensor : first.names()) {
        ASSERT_EQ(first.tensor(tensor).shape, second.tensor(tensor).shape);
        EXPECT_EQ(
            std::memcmp(first.tensor(tensor).data, second.tensor(tensor).data, first.tensor(tensor).bytes), 0)
            << name << " " << tensor;
      }
      for (const auto& [key, text] : first.metadata()) {
        ASSERT_TRUE(second.metadata().contains(key)) << key;
        if (key == "history")
          EXPECT_EQ(without_seconds(json::parse(text)),
                    without_seconds(json::parse(second.metadata().at(key))));
        else if (key == "config")
          EXPECT_EQ(without_epochs(text), without_epochs(second.metadata().at(key)));
        else
          EXPECT_EQ(text, second.metadata().at(key)) << name << " " << key;
      }
    }
    EXPECT_EQ(names_in(path(a)), names_in(path(b)));
  }
};

TEST_F(ResumeTest, TheSameSeedGivesTheSameBits) {
  use_threads();
  prepare(3, 4);
  ASSERT_EQ(train("a").status, 0);
  ASSERT_EQ(train("b").status, 0);
  expect_same_run("a", "b");
  ASSERT_EQ(train("c", {"--set", "training.seed=2"}).status, 0);
  EXPECT_NE(json_lines(path("a/metrics.jsonl"))[0]["training"],
            json_lines(path("c/metrics.jsonl"))[0]["training"]);
}

TEST_F(ResumeTest, InterruptedAndResumedAsIfItHadNeverStopped) {
  use_threads();
  prepare(12, 4);
  ASSERT_EQ(train("whole").status, 0);
  for (const auto& [signal, epochs] : {std::pair{SIGINT, 2u}, {SIGTERM, 5u}}) {
    const std::string name = "run" + std::to_string(signal);
    RunningProgram program(app("train", train_arguments(name)), options_);
    ASSERT_TRUE(program.wait_until([&] { return epochs_done(name) >= epochs; }));
    program.send(signal);
    const ProgramResult stopped = program.result();
    EXPECT_EQ(stopped.status, 130) << stopped.err;
    EXPECT_NE(stopped.out.find("Interrupted after "), std::string::npos) << stopped.out;
    EXPECT_NE(stopped.out.find("--resume"), std::string::npos) << stopped.out;
    EXPECT_NE(read_bytes(path(name + "/report.html")).find(" of 12; continue with --resume\""),
              std::string::npos);
    ASSERT_TRUE(exists(name + "/last.safetensors"));
    EXPECT_LT(epochs_done(name), 12u);
    const ProgramResult resumed = train(name, {"--resume"});
    ASSERT_EQ(resumed.status, 0) << resumed.err;
    EXPECT_NE(resumed.out.find("Resuming after "), std::string::npos) << resumed.out;
    expect_same_run("whole", name);
    const std::string log = read_bytes(path(name + "/log.txt"));
    EXPECT_LT(log.find("Interrupted after"), log.find("Resuming after"));
  }
}

TEST_F(ResumeTest, KilledAtAnyMomentAndResumedAsIfItHadNeverStopped) {
  prepare(4, 1);
  ASSERT_EQ(train("whole").status, 0);

  auto kill_when = [&](const std::string& name, const std::function<bool()>& condition) {
    const std::vector<std::string> more =
        exists(name) ? std::vector<std::string>{"--resume"} : std::vector<std::string>{};
    RunningProgram program(app("train", train_arguments(name, more)), options_);
    EXPECT_TRUE(program.wait_until(condition)) << program.result().err;
    program.send(SIGKILL);
    EXPECT_EQ(program.result().status, 128 + SIGKILL);
    expect_readable(name);
  };
  // While a file is being written, which takes so short that it may not be seen.
  auto writing = [&](const std::string& name) {
    return [=, this] {
      if (!exists(name)) return false;
      for (const std::string& file : names_in(path(name)))
        if (file.ends_with(".tmp")) return true;
      return epochs_done(name) >= 2;
    };
  };

  // Before the first checkpoint; on a busy machine the first epoch may be over before the signal comes.
  for (int attempt = 0; attempt < 5; ++attempt) {
    std::filesystem::remove_all(path("early"));
    kill_when("early", [&] { return exists("early/metrics.jsonl"); });
    if (!exists("early/last.safetensors")) break;
  }
  EXPECT_FALSE(exists("early/last.safetensors"));
  const ProgramResult again = train("early", {"--resume"});
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_NE(again.out.find("Nothing to resume"), std::string::npos) << again.out;
  expect_same_run("whole", "early");

  // Again and again: after an epoch, while a file is being written, in the middle of an epoch.
  const std::string name = "often";
  kill_when(name, [&] { return exists(name + "/config.json"); });
  kill_when(name, [&] { return epochs_done(name) >= 1; });
  kill_when(name, writing(name));
  kill_when(name, [&] { return epochs_done(name) >= 2; });
  EXPECT_LT(epochs_done(name), 4u);
  const auto leftovers = [&] {
    const auto names = names_in(path(name));
    return std::any_of(names.begin(), names.end(), [](auto& file) { return file.ends_with(".tmp"); });
  };
  write_bytes(path(name + "/last.safetensors.1-0.tmp"), "cut off");
  ASSERT_EQ(train(name, {"--resume"}).status, 0);
  EXPECT_FALSE(leftovers());
  expect_same_run("whole", name);
}

// What computed a run is in its checkpoint: neither another precision that has become the fastest nor a cap
// on instruction sets changes it without a word.
TEST_F(ResumeTest, ARunGoesOnAsItWasComputedOrSaysThatItDoesNot) {
  prepare(2, 4);
  options_.environment["XDG_CACHE_HOME"] = path("cache");
  ASSERT_EQ(train("run", {"--set", "precision=bf16"}).status, 0);
  const json by = json::parse(SafetensorsFile(path("run/last.safetensors")).metadata().at("computed_by"));
  EXPECT_EQ(by.at("precision"), "bf16");
  EXPECT_NE(by.at("kernels"), "");
  std::filesystem::remove_all(path("cache"));
  const ProgramResult same =
      train("run", {"--resume", "--set", "training.epochs=3", "--set", "precision=auto"});
  ASSERT_EQ(same.status, 0) << same.err;
  const std::string was = "bf16 " + by.at("kernels").get<std::string>();
  EXPECT_NE(same.out.find("Computed in " + was + ", as before"), std::string::npos) << same.out;

  const ProgramResult other =
      train("run", {"--resume", "--set", "training.epochs=4", "--set", "precision=fp32"});
  ASSERT_EQ(other.status, 0) << other.err;
  EXPECT_NE(other.out.find("was computed in " + was + " before"), std::string::npos) << other.out;
  EXPECT_NE(other.out.find("differs by rounding"), std::string::npos) << other.out;
}

TEST_F(ResumeTest, ASecondInterruptEndsAtOnce) {
  simulate_film();
  // Steps of seconds.
  write_config({{"tiles", {{"image_size", 20}, {"sliding_window_stride", 1}}},
                {"model", {{"channels", {64, 64, 64, 64}}}},
                {"training", {{"batch_size", 32}}}});
  RunningProgram program(app("train", train_arguments("run")), options_);
  ASSERT_TRUE(program.wait_until([&] { return exists("run/metrics.jsonl"); }));
  program.send(SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  program.send(SIGINT);
  const ProgramResult result = program.result();
  EXPECT_EQ(result.status, 130);
  EXPECT_EQ(result.out.find("Interrupted"), std::string::npos) << "the step was too short for this test";
  EXPECT_FALSE(exists("run/last.safetensors"));
  expect_readable("run");
}

TEST_F(ResumeTest, AFinishedRunIsLeftAloneOrExtended) {
  prepare(4);
  ASSERT_EQ(train("whole").status, 0);
  ASSERT_EQ(train("run", {"--set", "training.epochs=3"}).status, 0);
  const std::string model = read_bytes(path("run/model.safetensors")),
                    last = read_bytes(path("run/last.safetensors")),
                    metrics = read_bytes(path("run/metrics.jsonl"));
  const ProgramResult again = train("run", {"--resume", "--set", "training.epochs=3"});
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(read_bytes(path("run/model.safetensors")), model);
  EXPECT_EQ(read_bytes(path("run/last.safetensors")), last);
  EXPECT_EQ(read_bytes(path("run/metrics.jsonl")), metrics);

  const ProgramResult extended = train("run", {"--resume"});
  ASSERT_EQ(extended.status, 0) << extended.err;
  expect_same_run("whole", "run");
}

TEST_F(ResumeTest, WhatCannotGoOnIsRefusedAndLeftAlone) {
  prepare(2);
  ASSERT_EQ(train("run").status, 0);
  ASSERT_EQ(program("simulate", {"--shape", "22", "26", "64", "--offset-ev", "700", "--seed", "4", "--output",
                                 "other.hspy"})
                .status,
            0);
  ASSERT_TRUE(std::filesystem::create_directory(path("begun")));
  std::filesystem::copy_file(path("run/config.json"), path("begun/config.json"));
  const auto before = contents(path("."));
  expect_mistake(train("run"), {"run", "--resume", "--output"});
  expect_mistake(train("begun"), {"begun", "--resume", "--output"});
  expect_mistake(train("run", {"--resume", "--set", "training.learning_rate=0.5"}),
                 {"training.learning_rate: ", "0.03", "0.5", "run/last.safetensors"});
  expect_mistake(train("run", {"--resume", "--set", "model.channels=2,3,4,6"}),
                 {"model.channels: ", "[2,3,4,5]", "[2,3,4,6]"});
  expect_mistake(train("begun", {"--resume", "--set", "training.seed=9"}),
                 {"training.seed: ", "begun/config.json"});
  expect_mistake(program("train", {"tiny.json", "--data", "other.hspy", "--output", "run", "--resume"}),
                 {"other.hspy", "is not the file"});
  EXPECT_EQ(contents(path(".")), before);

  // A checkpoint without optimizer state, a damaged one.
  std::filesystem::copy_file(path("run/model.safetensors"), path("run/last.safetensors"),
                             std::filesystem::copy_options::overwrite_existing);
  expect_mistake(train("run", {"--resume"}), {"run/last.safetensors", "optimizer state"});
  std::filesystem::resize_file(path("run/last.safetensors"), 15000);
  expect_mistake(train("run", {"--resume"}), {"run/last.safetensors", "the file has"});
}

}  // namespace
}  // namespace eelsvae
