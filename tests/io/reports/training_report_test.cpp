#include "io/reports/training_report.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/io/reports/page_data.h"

namespace eelsvae {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

struct Sample {
  SpectrumImage image;
  Config config;
  std::vector<EpochRecord> history;
  ReconstructedTile tile;
  TrainingReport report{image, config};

  Sample() {
    config.training.epochs = 150;
    config.tiles.image_size = 10;  // 100 spectra
    config.model.latent_dim = 8;
    config.loss.dose = 10;
    config.loss.kl_weight = 0.5;
    config.data.data_path = "film.hspy";
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
    image.energy = {"Energy loss", "eV", 700, 0.5, 32};
    image.title = "BiFeO3 <film>";
    tile = {
        {24, 48}, 8, true, 11, std::vector<float>(8 * 8 * 32, 0.5f), std::vector<float>(8 * 8 * 32, 0.25f)};
  }
  Sample(const Sample&) = delete;

  nlohmann::json data() const { return data_of(render_training_report(report)); }
};

TEST(TrainingReport, SaysHowFarTheTrainingIs) {
  Sample sample;
  const auto data = sample.data();
  EXPECT_EQ(data["headline"], "Running: epoch 12 of 150, about 3 min left")
      << "139 epochs of 1.25 s; the first was slow";
  EXPECT_EQ(data["sublines"],
            "Loss of a spectrum 11, in validation 12. Best in epoch 7: 10. 5 of 8 latent units are active.");
  EXPECT_TRUE(data["comparison"].is_null());
  EXPECT_EQ(data["title"], "Training: BiFeO3 <film>");
  EXPECT_EQ(data["origin"], "Data: film.hspy");
  EXPECT_EQ(data["next"], 0) << "the page loads itself anew";
  EXPECT_TRUE(data["samples"].is_null() && data["tile"].is_null()) << "none was given";

  sample.report.progress = TrainingReport::Progress::stopped;
  const auto stopped = sample.data();
  EXPECT_EQ(stopped["headline"], "Stopped in epoch 12 of 150; continue with --resume");
  EXPECT_TRUE(stopped["next"].is_null());

  sample.config.training.epochs = 11;
  sample.report.progress = TrainingReport::Progress::finished;
  const auto finished = sample.data();
  EXPECT_EQ(finished["headline"], "Finished: 11 epochs");
  EXPECT_TRUE(finished["next"].is_null());
}

TEST(TrainingReport, SetsTheModelBesideTheBaselines) {
  Sample sample;
  for (EpochRecord& record : sample.history) record.deviance = record.epoch == 5 ? 1.004 : 1.2;
  sample.report.comparison = Comparison{512, 1.0312, 1.00625, 3, std::nullopt, std::nullopt};
  auto data = sample.data();
  EXPECT_EQ(
      data["sublines"],
      "Loss of a spectrum 11, in validation 12. Best in epoch 5. Predictive deviance of 512 spectra (1: "
      "only noise is left): model 1.004, mean spectrum 1.031, PCA of 3 components 1.006. 5 of 8 latent "
      "units are active.");
  EXPECT_EQ(data["comparison"], nlohmann::json({{"mean", 1.0312}, {"pca", 1.00625}}));
  EXPECT_EQ(data["history"][4]["deviance"], 1.004);
  sample.report.comparison->pca.reset();
  data = sample.data();
  EXPECT_TRUE(data["comparison"]["pca"].is_null());
}

TEST(TrainingReport, BeforeTheFirstEpochThereIsNoGuess) {
  Sample sample;
  sample.report.history = {};
  const auto data = sample.data();
  EXPECT_EQ(data["headline"], "Running: epoch 1 of 150");
  EXPECT_EQ(data["sublines"], "No epoch is complete yet.");
  EXPECT_TRUE(data["history"].empty());
  EXPECT_FALSE(training_seconds_left({}, 5).has_value());
  EXPECT_EQ(training_seconds_left(std::span(sample.history).first(1), 3), 2000);
  EXPECT_EQ(training_seconds_left(sample.history, 5), 0) << "a run that was shortened";
}

TEST(TrainingReport, HoldsTheTermsAsTheyEnterTheLoss) {
  Sample sample;
  sample.history[1].validation.reset();
  sample.history[2].training = {nan, nan, 3};
  const auto history = sample.data()["history"];
  ASSERT_EQ(history.size(), 11u);
  EXPECT_EQ(history[0], nlohmann::json::parse(R"({"epoch": 1, "training": [11.0, 10.0, 1.0],
      "validation": [12.0, 11.0, 1.01], "deviance": null, "rate": 0.0001, "norm": 3.0, "active": 5})"));
  EXPECT_TRUE(history[1]["validation"].is_null());
  EXPECT_EQ(history[2]["training"], nlohmann::json::parse("[null, null, 0.015]"));
}

TEST(TrainingReport, ShowsATileBesideItsReconstruction) {
  Sample sample;
  const auto at = [](int64_t y, int64_t x) { return (y * 8 + x) * 32; };
  // One of the pixels that would be shown is excluded.
  std::fill_n(sample.tile.observed.begin() + at(2, 1), 32, 0.0f);
  // Channels 6 and 7 are the only ones that tell the pixels apart.
  sample.tile.observed[static_cast<size_t>(at(5, 5) + 6)] = 2;
  sample.report.tile = &sample.tile;
  auto data = sample.data();
  EXPECT_EQ(
      data["tile"],
      "The tile at y 24, x 48, which is not trained on, after epoch 11. Maps: sums over 703.0 to 703.5 eV, "
      "both in the same colours.");
  const auto& samples = data["samples"];
  ASSERT_EQ(samples["pixels"].size(), 6u);
  for (const auto& pixel : samples["pixels"]) {
    EXPECT_NE(pixel, nlohmann::json::parse("[26, 49]")) << "an excluded pixel";
    EXPECT_TRUE(pixel[0] >= 24 && pixel[0] < 32 && pixel[1] >= 48 && pixel[1] < 56) << pixel;
  }
  EXPECT_EQ(samples["pixels"][1], nlohmann::json::parse("[26, 52]"));

  auto tile_text = [&] { return sample.data()["tile"].get<std::string>(); };
  sample.tile.validation = false;
  sample.config.detection.window = {{710, 712}};
  EXPECT_TRUE(has(tile_text(), "one of those trained on"));
  EXPECT_TRUE(has(tile_text(), "Maps: sums over 710.0 to 712.0 eV"));
  sample.config.detection.window = {{1000, 1010}};  // a mistake that training need not mind
  EXPECT_TRUE(has(tile_text(), "Maps: sums over 703.0 to 703.5 eV"));

  std::fill(sample.tile.observed.begin(), sample.tile.observed.end(), 0.0f);
  EXPECT_TRUE(sample.data()["samples"]["pixels"].empty());

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
