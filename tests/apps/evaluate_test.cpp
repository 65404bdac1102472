// A whole study, small: its files agree with each other, and an interrupted one ends as if it had not been.

#include "io/files/npy.h"
#include "tests/apps/programs_test.h"
#include "tests/io/containers/zip_file.h"

namespace eelsvae {
namespace {

using nlohmann::json;

// Lines that are complete, while a program writes more.
int64_t json_lines_so_far(const std::string& path) {
  const std::string text = read_bytes(path);
  return std::count(text.begin(), text.end(), '\n');
}

class EvaluateTest : public ProgramsTest {
 protected:
  void write_study(const json& changes = {}) const {
    json study = {{"preprocess", {{"sigma", 0}, {"xy_window", 3}}},
                  {"tiles", {{"image_size", 8}, {"sliding_window_stride", 8}}},
                  {"model", {{"channels", {2, 3, 4, 5}}, {"hidden", 8}, {"latent_dim", 3}}},
                  {"loss", {{"dose", 100}}},
                  {"training", {{"epochs", 2}, {"batch_size", 4}, {"learning_rate", 0.001}}},
                  {"precision", "fp32"},
                  {"evaluation",
                   {{"presets", {"bfo"}},
                    {"shape", {20, 20, 160}},
                    {"energy_offset_ev", 690},
                    {"exposure", 20},
                    {"seeds", {1, 2}},
                    {"defects", {"fe-shift:2.4"}},
                    {"amounts", {0.03}},
                    {"rates", {0.05, 0.2}},
                    {"scores", {"whitened", "pearson"}},
                    {"baselines", {"mean", "rx:5"}},
                    {"published_shifts", {8}},
                    {"published_amounts", {0.02}},
                    {"sweep_preset", "bfo"},
                    {"sweep_losses", {"mse"}}}}};
    if (!changes.is_null()) study.merge_patch(changes);
    write_bytes(path("study.json"), study.dump());
  }
  ProgramResult evaluate(const std::string& output, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"study.json", "--output", output};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return program("evaluate", arguments);
  }
};

TEST_F(EvaluateTest, TablesAreConsistentAndAnInterruptedStudyEndsTheSame) {
  write_study();
  const ProgramResult plan = evaluate("planned", {"--plan"});
  EXPECT_EQ(plan.out.find("3 models to train, 10 images to score\n"), 0u) << plan.out << plan.err;
  EXPECT_NE(plan.out.find(" at most on this machine"), std::string::npos) << plan.out;
  EXPECT_FALSE(std::filesystem::exists(path("planned")));
  ASSERT_EQ(evaluate("whole").status, 0);
  EXPECT_EQ(names_in(path("whole")), (std::set<std::string>{"cells.jsonl", "config.json", "log.txt",
                                                            "report.html", "results.json", "tables.md"}));

  const json results = json::parse(read_bytes(path("whole/results.json")));
  ASSERT_EQ(results["cells"].size(), 10u);
  EXPECT_EQ(json_lines(path("whole/cells.jsonl")).size(), 10u);
  std::map<std::string, int> parts;
  for (const json& cell : results["cells"]) {
    ++parts[cell["part"]];
    const int64_t anomalous = cell["anomalous"], pixels = cell["pixels"];
    EXPECT_EQ(pixels + cell["left_out"].get<int64_t>(), 20 * 20);
    EXPECT_EQ(anomalous > 0, cell["part"] != "normal") << cell["part"];
    for (const json& outcome : cell["outcomes"]) {
      EXPECT_EQ(outcome["roc_auc"].is_null(), anomalous == 0);
      for (const json& t : outcome["thresholds"]) {
        EXPECT_EQ(t["hits"].get<int64_t>() + t["missed"].get<int64_t>(), anomalous);
        EXPECT_EQ(t["false_alarms"].get<int64_t>() + t["rightly_left"].get<int64_t>(), pixels - anomalous);
      }
    }
    // xy_window 3 spreads an anomaly over its neighbours, which do not count; injections come after it.
    const int64_t left_out = cell["left_out"];
    if (cell["part"] == "defects") {
      EXPECT_GT(left_out, 50);
    }
    if (cell["part"] == "published") {
      EXPECT_LE(left_out, 9);
    }
  }
  EXPECT_EQ(parts,
            (std::map<std::string, int>{{"published", 4}, {"defects", 2}, {"normal", 2}, {"sweep", 2}}));
  // Sums over the seeds are those of the cells, and the tables show them.
  const std::string tables = read_bytes(path("whole/tables.md"));
  for (const json& row : results["false_discovery"])
    for (const json& t : row["thresholds"]) {
      int64_t hits = 0, false_alarms = 0;
      for (const json& cell : results["cells"]) {
        if (cell["part"] != "defects") continue;
        for (const json& o : cell["outcomes"])
          if (o["source"] == row["source"] && o["footing"] == row["footing"] &&
              (o["kind"] == "own" ? "own" : o["score"]) == row["score"])
            for (const json& u : o["thresholds"])
              if (u["method"] == t["method"] && u["rate"] == t["rate"]) {
                hits += u["hits"].get<int64_t>();
                false_alarms += u["false_alarms"].get<int64_t>();
              }
      }
      EXPECT_EQ(t["hits"], hits);
      EXPECT_EQ(t["false_alarms"], false_alarms);
      EXPECT_LE(t["interval"][0], t["interval"][1]);
      if (const int64_t found = hits + false_alarms; found > 0 && found < 1000) {
        EXPECT_NE(tables.find(" " + std::to_string(found) + " found"), std::string::npos);
      }
    }
  for (const char* text :
       {"3D-CVAE, printed", "known truth", "average precision of every method with its best score",
        "average precision", "delivered false-discovery rate", "Alarms on specimens without any anomaly",
        "Reconstruction quality", "Models made otherwise"})
    EXPECT_NE(tables.find(text), std::string::npos) << text;

  // Stopped after its second image; the crash cut the third line short.
  options_.environment["OMP_NUM_THREADS"] = "1";
  RunningProgram running(app("evaluate", {"study.json", "--output", "parts"}), options_);
  ASSERT_TRUE(running.wait_until([&] {
    return std::filesystem::exists(path("parts/cells.jsonl")) &&
           json_lines_so_far(path("parts/cells.jsonl")) >= 2;
  }));
  running.send(SIGINT);
  const ProgramResult stopped = running.result();
  ASSERT_EQ(stopped.status, 130) << stopped.err;
  EXPECT_NE(stopped.out.find("continue with --resume"), std::string::npos) << stopped.out;
  EXPECT_FALSE(std::filesystem::exists(path("parts/results.json")));
  std::ofstream(path("parts/cells.jsonl"), std::ios::app) << "{\"part\": \"publ";
  const ProgramResult resumed = evaluate("parts", {"--resume"});
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_EQ(read_bytes(path("parts/results.json")), read_bytes(path("whole/results.json")));
  EXPECT_EQ(read_bytes(path("parts/tables.md")), tables);
  EXPECT_EQ(read_bytes(path("parts/report.html")), read_bytes(path("whole/report.html")));

  // What is there is not overwritten, and another configuration is not mixed in.
  expect_mistake(evaluate("whole"), {"whole", "--resume"});
  expect_mistake(evaluate("whole", {"--resume", "--set", "evaluation.seeds=1"}),
                 {"study.json", "config.json"});
}

// The plan looks at every scene and at the settings, as the study does before it begins.
TEST_F(EvaluateTest, ScenesAreCheckedBeforeAnythingIsWritten) {
  std::filesystem::create_directory(path("scenes"));
  const auto scene = [&](const std::string& name, const std::string& truth_shape, size_t truths) {
    write_bytes(path("scenes/" + name),
                zip_file({{"data.npy", npy_file("<f4", "(20, 24, 32)", std::string(4 * 20 * 24 * 32, '\0'))},
                          {"truth.npy", npy_file("|b1", truth_shape, std::string(truths, '\1'))}}));
  };
  const auto evaluate = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"--scenes", "scenes", "--output", "study"});
    return program("evaluate", more);
  };
  scene("a.npz", "(20, 24)", 480);
  const ProgramResult plan = evaluate({"--plan"});
  EXPECT_EQ(plan.status, 0) << plan.err;
  EXPECT_EQ(
      plan.out,
      "1 scene, readable with these settings; each within 5 minutes (--minutes) and by every candidate\n");
  for (const std::vector<std::string>& how : {std::vector<std::string>{"--plan"}, {}}) {
    const auto also = [&](std::vector<std::string> more) {
      more.insert(more.end(), how.begin(), how.end());
      return evaluate(more);
    };
    expect_mistake(also({"--set", "training.qqqqqq=3"}), {"training.qqqqqq"});
    expect_mistake(also({"--set", "data.energy_range=1,2"}),
                   {"scenes/a.npz: data.energy_range leaves no channel"});
    scene("b.npz", "(20, 23)", 460);
    expect_mistake(also({}), {"scenes/b.npz", "the mask has shape (20, 23)"});
    std::filesystem::remove(path("scenes/b.npz"));
  }
  EXPECT_FALSE(std::filesystem::exists(path("study")));
}

// Pixels of a scene of which nobody knows are neither found rightly nor wrongly.
TEST_F(EvaluateTest, AScenesTruthMayBeUndecided) {
  std::filesystem::create_directory(path("scenes"));
  ASSERT_EQ(program("simulate", {"--shape", "6", "24", "160", "--seed", "3", "--output", "film.hspy"}).status,
            0);
  ASSERT_EQ(program("convert", {"film.hspy", "film.npy"}).status, 0);
  Truth truth = {std::vector<uint8_t>(6 * 24), std::vector<uint8_t>(6 * 24)};
  truth.anomalous[3] = truth.undecided[5] = 1;
  write_npy_truth(path("truth.npy"), {6, 24}, truth);
  write_bytes(path("scenes/a.npz"), zip_file({{"data.npy", read_bytes(path("film.npy"))},
                                              {"truth.npy", read_bytes(path("truth.npy"))}}));
  const ProgramResult result = program("evaluate", {"--scenes", "scenes", "--output", "study"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(read_bytes(path("study/a/truth.npy")), read_bytes(path("truth.npy")));
}

TEST_F(EvaluateTest, MistakesAreOneLineAndLeaveNothing) {
  auto refused = [&](const json& changes, const std::vector<std::string>& fragments) {
    write_study(changes);
    expect_mistake(evaluate("none"), fragments);
    EXPECT_FALSE(std::filesystem::exists(path("none")));
  };
  refused({{"evaluation", {{"sedes", {1}}}}}, {"study.json: evaluation.sedes", "seeds"});
  refused({{"evaluation", {{"presets", {"gold"}}}}}, {"evaluation.presets", "gold", "hetero"});
  refused({{"evaluation", {{"defects", {"ti-shift:1"}}}}}, {"evaluation.defects", "ti-shift:1 on bfo"});
  refused({{"evaluation", {{"energy_offset_ev", 500}}}}, {"evaluation."});
  refused({{"tiles", {{"image_size", 32}, {"sliding_window_stride", 32}}}}, {"evaluation.shape", "20 x 20"});
  refused({{"preprocess", {{"scaling_method", "zscore"}}}}, {"preprocess.scaling_method"});
  expect_mistake(program("evaluate", {"missing.json", "--output", "none"}), {"missing.json"});
}

}  // namespace
}  // namespace eelsvae
