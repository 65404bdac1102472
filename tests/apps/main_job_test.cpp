// The main job as a user does it: simulate, train, detect.

#include <cmath>

#include "io/config/config.h"
#include "io/files/npy.h"
#include "io/files/safetensors.h"
#include "io/formats/spectrum_image_file.h"
#include "tests/apps/programs_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;

class MainJobTest : public ProgramsTest {};

void expect_plain_lines(const std::string& text) {
  EXPECT_EQ(text.find_first_of("\r\x1b\b"), std::string::npos) << text;
  EXPECT_TRUE(text.empty() || text.ends_with('\n')) << text;
}

TEST_F(MainJobTest, SimulateTrainDetect) {
  simulate_film();
  write_config({{"training", {{"epochs", 15}}}});
  const ProgramResult trained = train("run");
  ASSERT_EQ(trained.status, 0) << trained.err;
  EXPECT_EQ(names_in(path("run")),
            (std::set<std::string>{"config.json", "model.safetensors", "last.safetensors", "metrics.jsonl",
                                   "log.txt", "report.html", "events"}));
  const std::string report = read_bytes(path("run/report.html"));
  EXPECT_NE(report.find("\"Finished: 15 epochs\""), std::string::npos);
  EXPECT_NE(report.find("The tile at y "), std::string::npos);
  EXPECT_NE(report.find("\"next\":null"), std::string::npos) << "nothing more will come";

  const std::string resolved = read_bytes(path("run/config.json"));
  Config expected = read_config(path("tiny.json"));
  expected.data.data_path = "film.hspy";
  EXPECT_EQ(resolved, to_json_text(expected));
  EXPECT_EQ(to_json_text(parse_config(resolved, "config.json")), resolved);

  const std::vector<json> metrics = json_lines(path("run/metrics.jsonl"));
  ASSERT_EQ(metrics.size(), 15u);
  for (size_t i = 0; i < metrics.size(); ++i) EXPECT_EQ(metrics[i]["epoch"], i + 1);
  EXPECT_LT(metrics.back()["training"]["loss"], metrics.front()["training"]["loss"]);
  EXPECT_NE(read_bytes(path("run/log.txt")).find("epoch 15: loss "), std::string::npos);

  const ProgramResult detected = detect("found", {"--truth", "truth.npy"});
  ASSERT_EQ(detected.status, 0) << detected.err;
  EXPECT_EQ(names_in(path("found")),
            (std::set<std::string>{"scores.hspy", "scores.npy", "mask.npy", "scores.png", "histogram.png",
                                   "regions.csv", "config.json", "summary.json", "report.html", "log.txt",
                                   "state.safetensors"}));
  const NpyArray scores = read_npy(path("found/scores.npy"));
  ASSERT_EQ(scores.shape, (std::vector<int64_t>{22, 26}));
  const json summary = json::parse(read_bytes(path("found/summary.json")));
  int64_t above = 0;
  const std::vector<uint8_t> mask = read_npy_mask(path("found/mask.npy"), 22, 26);
  for (size_t i = 0; i < scores.values.size(); ++i) {
    ASSERT_TRUE(std::isfinite(scores.values[i])) << i;
    const bool anomalous = static_cast<double>(scores.values[i]) > summary["threshold"];
    EXPECT_EQ(mask[i], anomalous) << i;
    above += anomalous;
  }
  EXPECT_EQ(summary["score"], "whitened");
  EXPECT_EQ(summary["pixels"], 22 * 26);
  EXPECT_EQ(summary["anomalous_pixels"], above);
  // Counted anew from the files: hits and alarms, and how often an anomalous spectrum outscores a normal one.
  const std::vector<uint8_t> truth = read_npy_mask(path("truth.npy"), 22, 26);
  double hits = 0, alarms = 0, anomalous = 0, won = 0, pairs = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    hits += mask[i] && truth[i];
    alarms += mask[i] && !truth[i];
    anomalous += truth[i] != 0;
    for (size_t j = 0; truth[i] && j < truth.size(); ++j) {
      if (truth[j]) continue;
      ++pairs;
      won += scores.values[i] > scores.values[j] ? 1 : scores.values[i] == scores.values[j] ? 0.5 : 0;
    }
  }
  ASSERT_GT(anomalous, 0);
  EXPECT_NEAR(summary["precision"], hits + alarms > 0 ? hits / (hits + alarms) : 0, 1e-12);
  EXPECT_NEAR(summary["recall"], hits / anomalous, 1e-12);
  EXPECT_NEAR(summary["f1"], 2 * hits / (hits + alarms + anomalous), 1e-12);
  EXPECT_NEAR(summary["roc_auc"], won / pairs, 1e-12);
  EXPECT_GT(summary["roc_auc"], 0.5) << "worse than guessing";
  EXPECT_GE(summary["average_precision"], anomalous / static_cast<double>(truth.size()));
  const std::vector<ImageInfo> map = list_images(path("found/scores.hspy"));
  ASSERT_EQ(map.size(), 1u);
  EXPECT_EQ(map[0].shape, scores.shape);
  EXPECT_EQ(map[0].axes[0].units, "nm");
  EXPECT_EQ(read_bytes(path("found/scores.png")).substr(0, 4), "\x89PNG");
  EXPECT_NE(read_bytes(path("found/report.html")).find("</html>"), std::string::npos);

  for (const ProgramResult& result : {trained, detected}) {
    expect_plain_lines(result.out);
    expect_plain_lines(result.err);
  }
  expect_plain_lines(read_bytes(path("run/log.txt")));
}

TEST_F(MainJobTest, DetectionRepeatsAndIsSetOnTheCommandLine) {
  simulate_film();
  write_config();
  ASSERT_EQ(train("run").status, 0);
  ASSERT_EQ(detect("first").status, 0);
  ASSERT_EQ(detect("second", {"--save-reconstruction", "--set", "detection.threshold=0.25"}).status, 0);
  EXPECT_EQ(read_bytes(path("first/scores.npy")), read_bytes(path("second/scores.npy")));
  EXPECT_FALSE(std::filesystem::exists(path("first/reconstruction.npy")));
  const NpyArray reconstruction = read_npy(path("second/reconstruction.npy"));
  EXPECT_EQ(reconstruction.shape, (std::vector<int64_t>{22, 26, 64}));
  EXPECT_TRUE(std::all_of(reconstruction.values.begin(), reconstruction.values.end(),
                          [](float v) { return std::isfinite(v); }));
  const json first = json::parse(read_bytes(path("first/summary.json")));
  const json second = json::parse(read_bytes(path("second/summary.json")));
  EXPECT_EQ(first["threshold_method"], "fdr");
  EXPECT_FALSE(first.contains("f1"));
  EXPECT_EQ(second["threshold_method"], "given");
  EXPECT_EQ(second["threshold"], 0.25);

  // The model as a file, on the image that it was trained on.
  const ProgramResult from_file =
      program("detect", {"--model", "run/model.safetensors", "--output", "third"});
  ASSERT_EQ(from_file.status, 0) << from_file.err;
  EXPECT_EQ(read_bytes(path("first/scores.npy")), read_bytes(path("third/scores.npy")));

  // Other tiles, other blending: other scores.
  ASSERT_EQ(detect("fourth", {"--set", "detection.stride=8", "--set", "detection.blend=uniform"}).status, 0);
  EXPECT_NE(read_bytes(path("first/scores.npy")), read_bytes(path("fourth/scores.npy")));
}

TEST_F(MainJobTest, PlanPrintsAndWritesNothing) {
  simulate_film();
  write_config();
  const auto before = contents(path("."));
  const ProgramResult summary = train("run", {"--plan"});
  EXPECT_EQ(summary.status, 0);
  EXPECT_EQ(std::count(summary.out.begin(), summary.out.end(), '\n'), 2) << summary.out;
  const ProgramResult plan = train("run", {"--plan=full"});
  EXPECT_EQ(plan.status, 0);
  EXPECT_EQ(plan.err, "");
  EXPECT_TRUE(plan.out.starts_with(summary.out.substr(0, summary.out.find('\n')))) << plan.out;
  for (const char* text : {"encoder.9.weight", "Adam m", "always", "sharing by lifetime", "The device has "})
    EXPECT_NE(plan.out.find(text), std::string::npos) << text << "\n" << plan.out;
  // More than there is: a plan still says how much.
  EXPECT_EQ(train("run", {"--plan", "--set", "model.hidden=65536", "--set", "model.latent_dim=65536"}).status,
            0);
  EXPECT_EQ(contents(path(".")), before);
}

TEST_F(MainJobTest, StartsFromGivenWeights) {
  simulate_film();
  write_config();
  ASSERT_EQ(train("run").status, 0);
  const ProgramResult second =
      train("second", {"--weights", "run/model.safetensors", "--set", "training.epochs=1", "--set",
                       "training.seed=2", "--set", "training.learning_rate=1e-30"});
  ASSERT_EQ(second.status, 0) << second.err;
  const SafetensorsFile before(path("run/model.safetensors")), after(path("second/model.safetensors"));
  ASSERT_EQ(before.names(), after.names());
  // Steps of 1e-30 show in biases that are still zero and nowhere else.
  for (const std::string& name : before.names()) {
    const auto &from = before.tensor(name), &to = after.tensor(name);
    ASSERT_EQ(from.bytes, to.bytes) << name;
    for (size_t at = 0; at < from.bytes; at += sizeof(float)) {
      float a, b;
      std::memcpy(&a, static_cast<const std::byte*>(from.data) + at, sizeof a);
      std::memcpy(&b, static_cast<const std::byte*>(to.data) + at, sizeof b);
      ASSERT_NEAR(a, b, 1e-28f) << name;
    }
  }
}

TEST_F(MainJobTest, ARunSurvivesAClosedPipe) {
  simulate_film();
  write_config();
  std::string command = "{ ";
  for (const std::string& word : app("train", train_arguments("run"))) command += "'" + word + "' ";
  run({"/bin/sh", "-c", command + "2>&1; echo $? > status; } | true"}, options_);
  EXPECT_EQ(read_bytes(path("status")), "0\n");
  EXPECT_EQ(json_lines(path("run/metrics.jsonl")).size(), 3u);
}

TEST_F(MainJobTest, EveryProgramHasHelpWithAnExampleAndAVersion) {
  for (const std::string name : {"train", "detect", "simulate", "info"}) {
    const ProgramResult help = program(name, {"--help"});
    EXPECT_EQ(help.status, 0) << name;
    EXPECT_EQ(help.err, "") << name;
    EXPECT_NE(help.out.find("Example"), std::string::npos) << help.out;
    EXPECT_NE(help.out.find("eelsvae-" + name + " "), std::string::npos) << help.out;
    const ProgramResult version = program(name, {"--version"});
    EXPECT_EQ(version.status, 0) << name;
    EXPECT_EQ(version.out.rfind("eelsvae-" + name + " ", 0), 0u) << version.out;
    expect_mistake(program(name, {}),
                   {"eelsvae-" + name + ": ", name == "detect" ? "give a spectrum image" : "is required"});
    expect_mistake(program(name, {"--no-such-option"}), {"--help"});
  }
}

}  // namespace
}  // namespace eelsvae
