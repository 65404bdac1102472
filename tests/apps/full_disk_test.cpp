// A disk that fills up while a program writes: one line with the file's name, whole files or none.

#include "io/files/safetensors.h"
#include "tests/apps/programs_test.h"

namespace eelsvae {
namespace {

class FullDiskTest : public ProgramsTest {
 protected:
  void SetUp() override {
    simulate_film();
    write_config();
  }

  ProgramResult program_with_limit(rlim_t bytes, const std::string& name,
                                   const std::vector<std::string>& arguments) const {
    ProgramOptions options = options_;
    options.largest_file = bytes;
    return run_app(name, arguments, options);
  }

  static bool has_temporary(const std::set<std::string>& names) {
    return std::any_of(names.begin(), names.end(),
                       [](const std::string& name) { return name.ends_with(".tmp"); });
  }

  static void expect_one_line(const ProgramResult& result, const std::string& file) {
    EXPECT_EQ(result.status, 2);
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_NE(result.err.find("cannot write " + file + ": "), std::string::npos) << result.err;
  }
};

TEST_F(FullDiskTest, Training) {
  // The model fits, the state with Adam's moments does not.
  const ProgramResult result = program_with_limit(30000, "train", train_arguments("run"));
  expect_one_line(result, "run/last.safetensors");
  EXPECT_EQ(names_in(path("run")), (std::set<std::string>{"config.json", "model.safetensors", "metrics.jsonl",
                                                          "log.txt", "events"}));
  EXPECT_FALSE(SafetensorsFile(path("run/model.safetensors")).names().empty());
  EXPECT_EQ(json_lines(path("run/metrics.jsonl")).size(), 1u);
  const ProgramResult resumed = train("run", {"--resume"});
  EXPECT_EQ(resumed.status, 0) << resumed.err;

  // Not even these do. (The limit holds for what is caught of stderr, too.)
  expect_one_line(program_with_limit(250, "train", train_arguments("log")), "log/log.txt");
  EXPECT_FALSE(has_temporary(names_in(path("log"))));
  expect_one_line(program_with_limit(700, "train", train_arguments("config")), "config/config.json");
  EXPECT_FALSE(has_temporary(names_in(path("config"))));
}

TEST_F(FullDiskTest, ACheckpointBeforeStaysWhenTheNextCannotBeWritten) {
  ASSERT_EQ(train("run").status, 0);
  const std::string last = read_bytes(path("run/last.safetensors"));
  const std::vector<std::string> more = {"--resume", "--set", "training.epochs=5"};
  EXPECT_EQ(program_with_limit(10000, "train", train_arguments("run", more)).status, 2);
  EXPECT_EQ(read_bytes(path("run/last.safetensors")), last);
  EXPECT_FALSE(has_temporary(names_in(path("run"))));
  ASSERT_EQ(train("run", more).status, 0);
  EXPECT_EQ(json_lines(path("run/metrics.jsonl")).size(), 5u);
}

TEST_F(FullDiskTest, Detection) {
  ASSERT_EQ(train("run").status, 0);
  const ProgramResult result = program_with_limit(100000, "detect", {"--model", "run", "--output", "found"});
  EXPECT_EQ(result.status, 2);
  EXPECT_NE(result.err.find("eelsvae-detect: cannot write found/report.html: "), std::string::npos)
      << result.err;
  // The summary comes last: where it is missing, so may be others.
  EXPECT_EQ(names_in(path("found")),
            (std::set<std::string>{"scores.hspy", "scores.npy", "mask.npy", "scores.png", "histogram.png",
                                   "regions.csv", "config.json", "log.txt", "state.safetensors"}));
}

TEST_F(FullDiskTest, Simulation) {
  const auto before = contents(path("."));
  for (const std::string name : {"new.hspy", "new.npy"})
    expect_one_line(program_with_limit(5000, "simulate", {"--shape", "24", "24", "64", "--output", name}),
                    name);
  EXPECT_EQ(contents(path(".")), before);
}

// A file system of its own, of few bytes, that only the programs of this test see.
TEST_F(FullDiskTest, AFileSystemThatFillsUp) {
  std::filesystem::create_directory(path("disk"));
  const std::vector<std::string> probe = {"/usr/bin/env", "unshare", "-m",      "mount", "-t",
                                          "tmpfs",        "-o",      "size=1m", "tmpfs", "disk"};
  if (run(probe, options_).status != 0) GTEST_SKIP() << "mounting a file system is not permitted";
  write_bytes(path("script"), R"(
    set -u
    mount -t tmpfs -o size=1m tmpfs disk
    # Too little from the start.
    head -c 900000 /dev/zero > disk/filler
    "$@" tiny.json --data film.hspy --output disk/run 2> before.txt; echo $? >> status.txt
    [ -e disk/run ] && echo "traces left" >> before.txt
    rm disk/filler
    # Too little after a while.
    "$@" tiny.json --data film.hspy --output disk/run 2> during.txt & training=$!
    until [ -s disk/run/last.safetensors ]; do sleep 0.01; done
    cat /dev/zero > disk/filler 2> /dev/null
    wait $training; echo $? >> status.txt
    ls disk/run/*.tmp >> during.txt 2> /dev/null
    rm disk/filler
    "$@" tiny.json --data film.hspy --output disk/run --resume --set training.epochs=4000 > after.txt 2>&1 &
    training=$!
    until grep -q Resuming after.txt; do sleep 0.01; done
    kill -INT $training; wait $training; echo $? >> status.txt
  )");
  write_config({{"training", {{"epochs", 4000}}}});
  const ProgramResult result =
      run({"/usr/bin/env", "unshare", "-m", "sh", "./script", app("train", {})[0]}, options_);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(read_bytes(path("status.txt")), "2\n2\n130\n");
  const std::string before = read_bytes(path("before.txt")), during = read_bytes(path("during.txt"));
  EXPECT_NE(before.find("disk/run: needs "), std::string::npos) << before;
  EXPECT_NE(before.find("free"), std::string::npos) << before;
  EXPECT_NE(during.find("No space left on device"), std::string::npos) << during;
  for (const std::string& text : {before, during})
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
}

}  // namespace
}  // namespace eelsvae
