#include "io/reports/training_report.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace eelsvae {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

bool has(const std::string& page, const std::string& part) {
  return page.find(part) != std::string::npos;
}

nlohmann::json data_of(const std::string& page) {
  const std::string open = "id='report-data'>";
  const size_t first = page.find(open) + open.size();
  return nlohmann::json::parse(page.substr(first, page.find("</script>", first) - first));
}

struct Sample {
  std::vector<EpochRecord> history;
  ReconstructedTile tile;
  TrainingReport report;

  Sample() {
    report.config.training.epochs = 150;
    report.config.model.latent_dim = 8;
    report.config.loss.dose = 10;
    report.config.loss.kl_weight = 0.5;
    for (int64_t epoch = 1; epoch <= 11; ++epoch) {
      EpochRecord record;
      record.epoch = epoch;
      record.training = {1100, 100, 200};
      record.validation = EpochLoss{epoch == 7 ? 1000 : 1200.0, 110, 202};
      record.learning_rate = 1e-4;
      record.gradient_norm = 3;
      record.active_latent_units = 5;
      record.seconds = epoch == 1 ? 1000 : 1.25;
      history.push_back(record);
    }
    report.history = history;
    report.energy = {"Energy loss", "eV", 700, 0.5, 32};
    report.title = "BiFeO3 <film>";
    report.data_file = "film.hspy";
    tile = {
        {24, 48}, 8, true, 11, std::vector<float>(8 * 8 * 32, 0.5f), std::vector<float>(8 * 8 * 32, 0.25f)};
  }
};

TEST(TrainingReport, SaysHowFarTheTrainingIs) {
  Sample sample;
  const std::string page = render_training_report(sample.report);
  EXPECT_TRUE(has(page, "Running: epoch 12 of 150, about 3 min left<"))
      << "139 epochs of 1.25 s; the first was slow";
  EXPECT_TRUE(
      has(page, "Loss 1,100, validation 1,200; best 1,000 in epoch 7. 5 of 8 latent units are active."));
  EXPECT_TRUE(has(page, "<title>Training: BiFeO3 &lt;film&gt;</title>"));
  EXPECT_TRUE(has(page, "http-equiv='refresh' content='10'"));
  EXPECT_FALSE(has(page, "What the model makes of a tile")) << "none was given";

  sample.report.progress = TrainingReport::Progress::stopped;
  const std::string stopped = render_training_report(sample.report);
  EXPECT_TRUE(has(stopped, "Stopped in epoch 12 of 150; continue with --resume<"));
  EXPECT_FALSE(has(stopped, "http-equiv='refresh'"));
  EXPECT_TRUE(data_of(stopped)["next"].is_null());

  sample.report.config.training.epochs = 11;
  sample.report.progress = TrainingReport::Progress::finished;
  const std::string finished = render_training_report(sample.report);
  EXPECT_TRUE(has(finished, "Finished: 11 epochs<"));
  EXPECT_FALSE(has(finished, "http-equiv='refresh'"));
}

TEST(TrainingReport, BeforeTheFirstEpochThereIsNoGuess) {
  Sample sample;
  sample.report.history = {};
  const std::string page = render_training_report(sample.report);
  EXPECT_TRUE(has(page, "Running: epoch 1 of 150<"));
  EXPECT_TRUE(has(page, "No epoch is complete yet."));
  EXPECT_TRUE(data_of(page)["history"].empty());
  EXPECT_FALSE(training_seconds_left({}, 5).has_value());
  EXPECT_EQ(training_seconds_left(std::span(sample.history).first(1), 3), 2000);
  EXPECT_EQ(training_seconds_left(sample.history, 5), 0) << "a run that was shortened";
}

TEST(TrainingReport, HoldsTheTermsAsTheyEnterTheLoss) {
  Sample sample;
  sample.history[1].validation.reset();
  sample.history[2].training = {nan, nan, 3};
  const auto history = data_of(render_training_report(sample.report))["history"];
  ASSERT_EQ(history.size(), 11u);
  EXPECT_EQ(history[0], nlohmann::json::parse(R"({"epoch": 1, "training": [1100.0, 1000.0, 100.0],
      "validation": [1200.0, 1100.0, 101.0], "rate": 0.0001, "norm": 3.0, "active": 5})"));
  EXPECT_TRUE(history[1]["validation"].is_null());
  EXPECT_EQ(history[2]["training"], nlohmann::json::parse("[null, null, 1.5]"));
}

TEST(TrainingReport, ShowsATileBesideItsReconstruction) {
  Sample sample;
  const auto at = [](int64_t y, int64_t x) { return (y * 8 + x) * 32; };
  // One of the pixels that would be shown is excluded.
  std::fill_n(sample.tile.observed.begin() + at(2, 1), 32, 0.0f);
  // Channels 6 and 7 are the only ones that tell the pixels apart.
  sample.tile.observed[static_cast<size_t>(at(5, 5) + 6)] = 2;
  sample.report.tile = &sample.tile;
  std::string page = render_training_report(sample.report);
  EXPECT_TRUE(has(page, "The tile at y 24, x 48, which is not trained on, after epoch 11."));
  EXPECT_TRUE(has(page, "Maps: sums over 703.0 to 703.5 eV"));
  const auto samples = data_of(page)["samples"];
  ASSERT_EQ(samples["pixels"].size(), 6u);
  for (const auto& pixel : samples["pixels"]) {
    EXPECT_NE(pixel, nlohmann::json::parse("[26, 49]")) << "an excluded pixel";
    EXPECT_TRUE(pixel[0] >= 24 && pixel[0] < 32 && pixel[1] >= 48 && pixel[1] < 56) << pixel;
  }
  EXPECT_EQ(samples["pixels"][1], nlohmann::json::parse("[26, 52]"));

  sample.tile.validation = false;
  sample.report.config.detection.window = {{710, 712}};
  page = render_training_report(sample.report);
  EXPECT_TRUE(has(page, "one of those trained on"));
  EXPECT_TRUE(has(page, "Maps: sums over 710.0 to 712.0 eV"));
  sample.report.config.detection.window = {{1000, 1010}};  // a mistake that training need not mind
  EXPECT_TRUE(has(render_training_report(sample.report), "Maps: sums over 703.0 to 703.5 eV"));

  std::fill(sample.tile.observed.begin(), sample.tile.observed.end(), 0.0f);
  page = render_training_report(sample.report);
  EXPECT_TRUE(data_of(page)["samples"]["pixels"].empty());
  EXPECT_FALSE(has(page, "sample-0"));

  sample.tile.reconstruction.pop_back();
  EXPECT_THROW(render_training_report(sample.report), std::logic_error);
}

TEST(TrainingReport, AsksForNothingFromOutside) {
  Sample sample;
  sample.report.tile = &sample.tile;
  const std::string page = render_training_report(sample.report);
  EXPECT_TRUE(has(page, "default-src 'none'"));
  for (const char* request : {" src=", "<link", "@import", "url(", "fetch(", "XMLHttpRequest", "import("})
    EXPECT_FALSE(has(page, request)) << request;
  EXPECT_LT(page.size(), 400'000u);
}

}  // namespace
}  // namespace eelsvae
