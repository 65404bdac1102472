// Many images, worked on by several programs at once.

#include "io/batch/cube_list.h"
#include "tests/apps/programs_test.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;

class BatchTest : public ProgramsTest {
 protected:
  // So many films, and their list.
  void simulate(int films, const std::string& side = "12") {
    std::string list = "path\n";
    for (int i = 0; i < films; ++i) {
      const std::string name = "film-" + std::to_string(i) + ".npy";
      ASSERT_EQ(program("simulate", {"--shape", side, side, "48", "--offset-ev", "700", "--seed",
                                     std::to_string(i), "--output", name})
                    .status,
                0);
      list += name + "\n";
    }
    write_bytes(path("list.csv"), list);
  }
  std::vector<std::string> arguments(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all = {"--manifest", "list.csv",
                                    "--output",   "results",
                                    "--baseline", "mean",
                                    "--set",      "data.energy_offset=700",
                                    "--set",      "data.dispersion=0.3"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::unique_ptr<RunningProgram> start() const {
    std::vector<std::string> all = arguments();
    all.insert(all.begin(), program_file("eelsvae-detect"));
    return std::make_unique<RunningProgram>(all, options_);
  }
  // Rows of the table, by name; each name once.
  std::map<std::string, std::map<std::string, std::string>> table() const {
    std::map<std::string, std::map<std::string, std::string>> found;
    const std::vector<CsvRow> rows = parse_csv(read_bytes(path("results/cubes.csv")), "cubes.csv");
    for (size_t r = 1; r < rows.size(); ++r) {
      std::map<std::string, std::string> row;
      for (size_t i = 0; i < rows[r].fields.size(); ++i) row[rows[0].fields[i]] = rows[r].fields[i];
      EXPECT_TRUE(found.emplace(row["name"], row).second) << row["name"] << " is there twice";
    }
    return found;
  }
};

TEST_F(BatchTest, WorkersShareTheImagesAndOneDies) {
  constexpr int films = 24;
  simulate(films);
  std::vector<std::unique_ptr<RunningProgram>> workers;
  for (int i = 0; i < 4; ++i) workers.push_back(start());
  ASSERT_TRUE(workers[0]->wait_until([&] { return workers[0]->out().find("film-") != std::string::npos; }));
  workers[0]->send(SIGKILL);
  EXPECT_EQ(workers[0]->result().status, 128 + SIGKILL);
  std::string said;
  for (int i = 1; i < 4; ++i) {
    const ProgramResult result = workers[static_cast<size_t>(i)]->result();
    EXPECT_EQ(result.status, 0) << result.err;
    said += result.out;
  }
  const auto rows = table();
  ASSERT_EQ(rows.size(), static_cast<size_t>(films));
  for (const auto& [name, row] : rows) {
    EXPECT_EQ(row.at("state"), "done") << name;
    EXPECT_EQ(row.at("spectra"), "144") << name;
    EXPECT_TRUE(fs::exists(path("results/" + name + "/report.html"))) << name;
  }
  EXPECT_NE(said.find("24 of 24 images are done"), std::string::npos) << said;
  EXPECT_TRUE(fs::exists(path("results/index.html")));
  // By one program alone the scores are the same.
  ASSERT_EQ(program("detect", {"film-5.npy", "--baseline", "mean", "--output", "alone", "--set",
                               "data.energy_offset=700", "--set", "data.dispersion=0.3"})
                .status,
            0);
  EXPECT_EQ(read_bytes(path("alone/scores.npy")), read_bytes(path("results/film-5/scores.npy")));
}

TEST_F(BatchTest, GoesOnWithWhatIsMissing) {
  simulate(3);
  write_bytes(path("film-1.npy"), "broken");
  ProgramResult result = program("detect", arguments());
  EXPECT_EQ(result.status, 1) << result.err;
  EXPECT_NE(result.err.find("film-1: " + path("film-1.npy")), std::string::npos) << result.err;
  auto rows = table();
  EXPECT_EQ(rows["film-1"]["state"], "failed");
  EXPECT_EQ(rows["film-1"]["attempts"], "1") << "what is broken is not tried again";
  EXPECT_NE(rows["film-1"]["message"], "");
  const auto written = fs::last_write_time(path("results/film-0/summary.json"));

  // More images, and the broken one mended, which is tried when that is asked for.
  simulate(4);
  result = program("detect", arguments());
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(table()["film-1"]["state"], "failed");
  EXPECT_EQ(table()["film-3"]["state"], "done");
  result = program("detect", arguments({"--retry-failed"}));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(table()["film-1"]["state"], "done");
  EXPECT_EQ(fs::last_write_time(path("results/film-0/summary.json")), written) << "what is done stays";
}

TEST_F(BatchTest, AnInterruptedOneIsGivenBack) {
  simulate(6);
  const auto worker = start();
  ASSERT_TRUE(worker->wait_until([&] { return fs::exists(path("results/.work/film-1.1.json")); }));
  worker->send(SIGTERM);
  EXPECT_EQ(worker->result().status, 130);
  const ProgramResult result = program("detect", arguments());
  EXPECT_EQ(result.status, 0) << result.err;
  for (const auto& [name, row] : table()) EXPECT_EQ(row.at("attempts"), "1") << name;
}

TEST_F(BatchTest, WhoFindsNothingToDoWaitsForTheOthers) {
  simulate(1);
  for (int round = 0; round < 3; ++round) {
    fs::remove_all(path("results"));
    std::vector<std::unique_ptr<RunningProgram>> workers;
    for (int i = 0; i < 4; ++i) workers.push_back(start());
    for (const auto& worker : workers) EXPECT_EQ(worker->result().status, 0);
    EXPECT_EQ(table()["film-0"]["attempts"], "1");
  }
}

// A detection whose worker is killed goes on, and is waited for: it is not begun twice.
TEST_F(BatchTest, WhatADeadOneHasStartedIsWaitedFor) {
  simulate(1, "32");
  std::vector<std::string> all = {program_file("eelsvae-detect"),
                                  "--manifest",
                                  "list.csv",
                                  "--output",
                                  "results",
                                  "--minutes",
                                  "0.05",
                                  "--set",
                                  "data.energy_offset=700",
                                  "--set",
                                  "data.dispersion=0.3",
                                  "--set",
                                  "tiles.image_size=8"};
  RunningProgram worker(all, options_);
  ASSERT_TRUE(worker.wait_until([&] { return fs::exists(path("results/.work/film-0.1.json")); }));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  worker.send(SIGKILL);
  worker.result();
  const ProgramResult result = program("detect", {all.begin() + 1, all.end()});
  EXPECT_EQ(result.status, 0) << result.err;
  const auto row = table()["film-0"];
  EXPECT_EQ(row.at("state"), "done");
  EXPECT_EQ(row.at("attempts"), "1");
  EXPECT_TRUE(fs::exists(path("results/film-0/model"))) << "it takes too little time to be waited for";
}

// What a line says is part of what was done, and a folder that was removed is wanted anew.
TEST_F(BatchTest, ChangedLinesAreSeen) {
  simulate(2);
  ASSERT_EQ(program("detect", arguments()).status, 0);
  write_bytes(path("list.csv"), "path,data.energy_range\nfilm-0.npy,\nfilm-1.npy,\"702,710\"\n");
  expect_mistake(program("detect", arguments()), {"film-1", "with these settings"});
  fs::remove_all(path("results/film-1"));
  ASSERT_EQ(program("detect", arguments()).status, 0);
  const auto summary = nlohmann::json::parse(read_bytes(path("results/film-1/summary.json")));
  EXPECT_EQ(summary["configuration"]["data"]["energy_range"], (nlohmann::json{702.0, 710.0}));
  // From another folder it is the same list.
  fs::create_directory(path("below"));
  ProgramOptions there = options_;
  there.folder = path("below");
  std::vector<std::string> all = arguments();
  all[1] = "../list.csv";
  all[3] = "../results";
  EXPECT_EQ(run_app("detect", all, there).status, 0);
}

TEST_F(BatchTest, MistakesThatConcernAllAreSaidOnce) {
  simulate(2);
  expect_mistake(program("detect", arguments({"film-0.npy"})), {"leave DATA out"});
  expect_mistake(program("detect", arguments({"--truth", "t.npy"})), {"column 'truth'"});
  expect_mistake(program("detect", arguments({"--set", "detection.fdr=2"})), {"detection.fdr"});
  expect_mistake(program("detect", {"--manifest", "list.csv", "--model", "nowhere", "--output", "results"}),
                 {"nowhere"});
  expect_mistake(program("detect", {"--manifest", "none.csv", "--baseline", "mean"}), {"none.csv"});
  expect_mistake(program("detect", {"film-0.npy", "--retry-failed"}), {"--manifest"});
  EXPECT_FALSE(fs::exists(path("results")));
  ASSERT_EQ(program("detect", arguments()).status, 0);
  expect_mistake(program("detect", arguments({"--set", "detection.fdr=0.1"})), {"other options"});
  write_bytes(path("list.csv"), "path,name\nfilm-1.npy,film-0\n");
  expect_mistake(program("detect", arguments()), {"film-0", "another name"});
  expect_mistake(
      program("detect", {"--manifest", "list.csv", "--baseline", "mean", "--output", "results/film-1"}),
      {"one image"});
}

}  // namespace
}  // namespace eelsvae
