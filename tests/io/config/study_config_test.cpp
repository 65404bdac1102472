// Configurations and results of studies, read and written.

#include "io/config/study_config.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "io/reports/study_json.h"
#include "io/reports/study_report.h"
#include "io/reports/study_tables.h"
#include "kernels/error.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

std::string mistake_in(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    parse_study(text, "study.json", overrides);
  } catch (const UserError& error) {
    const std::string message = error.what();
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message;
  }
  return "no error";
}

TEST(StudyConfig, HoldsAModelsConfigurationAndItsOwnGroup) {
  const Study study = parse_study(
      R"({"evaluation": {"seeds": [3], "scores": ["latent"], "sweep_losses": ["mse"]}, "loss": {"dose": 7}})",
      "study.json", {"evaluation.presets=bfo,drift", "training.epochs=2", "evaluation.rates=0.1"});
  EXPECT_EQ(study.evaluation.seeds, std::vector<int64_t>{3});
  EXPECT_EQ(study.evaluation.scores, std::vector<Score>{Score::latent});
  EXPECT_EQ(study.evaluation.presets, (std::vector<std::string>{"bfo", "drift"}));
  EXPECT_EQ(study.evaluation.rates, std::vector<double>{0.1});
  EXPECT_EQ(study.config.loss.dose, 7);
  EXPECT_EQ(study.config.training.epochs, 2);
  const std::string resolved = to_json_text(study);
  EXPECT_EQ(to_json_text(parse_study(resolved, "resolved")), resolved);
}

TEST(StudyConfig, MistakesNameTheKey) {
  EXPECT_EQ(mistake_in(R"({"evaluation": {"seedz": [1]}})"),
            "study.json: evaluation.seedz: unknown key; did you mean seeds?");
  EXPECT_EQ(mistake_in(R"({"evalution": {}})"),
            "study.json: evalution: unknown key; did you mean evaluation?");
  EXPECT_EQ(mistake_in(R"({"training": {"seeds": 1}})"),
            "study.json: training.seeds: unknown key; did you mean evaluation.seeds?");
  EXPECT_EQ(
      mistake_in(R"({"evaluation": {"seeds": []}})").find("study.json: evaluation.seeds: must be one or"),
      0u);
  EXPECT_EQ(mistake_in(R"({"evaluation": {"rates": [0.1, 1]}})"),
            "study.json: evaluation.rates: must be one or more, each between 0 and 1, got [0.1,1]");
  EXPECT_EQ(mistake_in(R"({"evaluation": {"scores": ["whitend"]}})")
                .find("study.json: evaluation.scores: expected a list of joint, learned, whitened"),
            0u);
  EXPECT_EQ(mistake_in(R"({"evaluation": {"presets": [1]}})"),
            "study.json: evaluation.presets: expected a list of texts, got [1]");
  EXPECT_EQ(mistake_in(R"({"data": {"data_path": "scan.dm4"}})").find("study.json: data.data_path"), 0u);
  EXPECT_EQ(mistake_in(R"({"detection": {"threshold": 1}})").find("study.json: detection.threshold: "), 0u);
  EXPECT_EQ(
      mistake_in("{}", {"evaluation.seeds=one"}).find("--set evaluation.seeds: expected a list of whole"),
      0u);
}

// After a change of the table: EELSVAE_REGENERATE=1 build/release/tests/io_test
// --gtest_filter='StudyConfig.*'
TEST(StudyConfig, DocsEvaluationMdListsEveryKey) {
  const std::string path = EELSVAE_SOURCE_DIR "/docs/evaluation.md";
  std::ifstream file(path);
  std::string text((std::istreambuf_iterator<char>(file)), {});
  const std::string table = study_reference_markdown();
  const size_t begin = text.find("\n## evaluation\n");
  ASSERT_NE(begin, std::string::npos);
  const char* regenerate = std::getenv("EELSVAE_REGENERATE");
  if (regenerate && std::string(regenerate) == "1") {
    text = text.substr(0, begin) + table;
    std::ofstream(path) << text;
  }
  EXPECT_EQ(text.substr(begin), table);
}

// ---- results ----

class StudyFiles : public FileTest {};

StudyResult some_result() {
  StudyResult r;
  r.cell = {StudyCell::Part::published, "bfo", 3, "roll 8", 0.1 + 0.2};
  r.pixels = 100;
  r.anomalous = 7;
  r.active_latent_units = 2;
  r.latent_units = 3;
  ScoreOutcome& o = r.outcomes.emplace_back();
  o.source = "model";
  o.footing = "clean";
  o.kind = ScoreOutcome::Kind::published;
  o.score = Score::pearson;
  o.roc_auc = 1.0 / 3;
  o.thresholds = {{ThresholdMethod::conformal, 0.05, 1, 2, 3, 4}};
  r.quality = {{"model", 30.5, std::nullopt, 0.5, 1.1, 0.01, 1.2, 0.02}};
  return r;
}

TEST_F(StudyFiles, ResultsSurviveWritingAndReading) {
  const nlohmann::json written = to_json(some_result());
  const StudyResult read = study_result_from(nlohmann::json::parse(written.dump()), "here");
  EXPECT_EQ(to_json(read), written);
  EXPECT_EQ(read.cell, some_result().cell);
  EXPECT_EQ(read.outcomes[0].roc_auc, 1.0 / 3);
  EXPECT_FALSE(read.outcomes[0].average_precision);
}

TEST_F(StudyFiles, ALineThatACrashCutShortIsDropped) {
  const std::string line = to_json(some_result()).dump() + "\n", file = path("cells.jsonl");
  write_bytes(file, line + line.substr(0, 50));
  EXPECT_EQ(read_cells(file).size(), 1u);
  write_bytes(file, line + "{\"part\": 1}\n");
  try {
    read_cells(file);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("cells.jsonl: line 2: "), std::string::npos) << error.what();
  }
  EXPECT_TRUE(read_cells(path("none.jsonl")).empty());
}

TEST_F(StudyFiles, ThePageHoldsNoMarkupOfItsData) {
  StudyReport report;
  report.study.evaluation.published_preset = "bfo";
  report.results = {some_result()};
  report.results[0].outcomes[0].source = "<script>alert(1)</script>";
  report.device = "<b>device</b>";
  const std::string page = study_html(report);
  EXPECT_EQ(page.find("<script>alert"), std::string::npos);
  EXPECT_EQ(page.find("<b>device"), std::string::npos);
  EXPECT_NE(page.find("Content-Security-Policy"), std::string::npos);
}

TEST_F(StudyFiles, TablesAreRectangular) {
  StudyReport report;
  report.study.evaluation.published_shifts = {3, 8};
  report.results = {some_result(), some_result()};
  report.results[1].cell.subject = "roll 3";
  for (const StudyTable& table : study_tables(report)) {
    EXPECT_FALSE(table.rows.empty()) << table.heading;
    for (const auto& row : table.rows) EXPECT_EQ(row.size(), table.columns.size()) << table.heading;
  }
}

}  // namespace
}  // namespace eelsvae
