#include "io/run/detect_folder.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "io/files/npy.h"
#include "io/formats/spectrum_image_file.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

class DetectFolderTest : public FileTest {};

TEST_F(DetectFolderTest, ExcludedPixelsHaveNoResult) {
  SpectrumImage prepared;
  prepared.y = {"y", "nm", 0, 1, 2};
  prepared.x = {"x", "nm", 0, 1, 3};
  prepared.energy = {"Energy loss", "eV", 700, 0.5, 16};
  prepared.counts.assign(6 * 16, 0.5f);
  prepared.excluded = {0, 1, 0, 0, 1, 0};
  const float none = std::nanf("");
  Detection found;
  Expectation expectation;
  expectation.spectra.assign(6 * 16, 0.25f);
  const Config config;
  found.scores = {0.1f, none, 0.9f, 0.2f, none, 0.3f};
  found.mask = {0, 0, 1, 0, 0, 0};
  found.threshold = 0.5;
  found.window = {0, 16};
  found.deviations.resize(6);
  const DetectionReport report{prepared, expectation, found, config, "film.hspy", "run"};
  write_detect_folder(path("."), report, true);

  const nlohmann::json summary = nlohmann::json::parse(read_bytes(path("summary.json")));
  EXPECT_EQ(summary["pixels"], 4);
  EXPECT_EQ(summary["excluded_pixels"], 2);
  EXPECT_EQ(summary["anomalous_pixels"], 1);
  EXPECT_EQ(summary["score"], "whitened");
  EXPECT_EQ(summary["threshold_method"], "fdr");
  EXPECT_EQ(summary["fdr"], 0.05);
  EXPECT_FALSE(summary.contains("null")) << "too few scores for one";
  const NpyArray scores = read_npy(path("scores.npy"));
  EXPECT_EQ(scores.shape, (std::vector<int64_t>{2, 3}));
  for (size_t pixel = 0; pixel < 6; ++pixel)
    EXPECT_EQ(std::isnan(scores.values[pixel]), prepared.excluded[pixel] != 0) << pixel;
  EXPECT_EQ(read_npy_mask(path("mask.npy"), 2, 3), found.mask);
  EXPECT_EQ(list_images(path("scores.hspy")).at(0).shape, scores.shape);
  EXPECT_NE(read_bytes(path("report.html")).find("2 pixels are excluded"), std::string::npos);

  prepared.excluded.clear();
  found.scores[1] = found.scores[4] = 0;
  write_detect_folder(path("."), report, false);
  const nlohmann::json whole = nlohmann::json::parse(read_bytes(path("summary.json")));
  EXPECT_EQ(whole["pixels"], 6);
  EXPECT_EQ(whole["excluded_pixels"], 0);
}

TEST_F(DetectFolderTest, SaysWhatChangedInRegions) {
  SpectrumImage prepared;
  prepared.y = {"y", "nm", 0, 1, 2};
  prepared.x = {"x", "nm", 0, 1, 3};
  prepared.energy = {"Energy loss", "eV", 700, 0.5, 16};
  prepared.counts.assign(6 * 16, 0.5f);
  Detection found;
  Expectation expectation;
  expectation.spectra.assign(6 * 16, 0.25f);
  Config config;
  config.detection.elements = {"Fe"};
  found.scores = {0.1f, 0.9f, 0.2f, 0.2f, 0.1f, 0.8f};
  found.mask = {0, 1, 0, 0, 0, 1};
  found.threshold = 0.5;
  found.window = {0, 16};
  found.deviations.resize(6);
  const std::vector<float> flat(16, 0.25f);
  found.regions = {
      {{1}, 0, 1, 1, 1, 0.9f, flat}, {{5}, 1, 2, 1, 5, 0.8f, flat}, {{3}, 1, 0, 1, 3, 0.7f, flat}};
  found.regions[0].explanation = {
      {{ChangeKind::shift, 702, 704, 0, 1.2, 0.3}, {ChangeKind::peak, 707, 707, 0.25, 0.5, 0.1}}, 70, 18, 16};
  found.regions[1].explanation = {{}, 64, 64, 16};
  write_detect_folder(path("."), {prepared, expectation, found, config, "film.hspy", "run"}, false);

  const nlohmann::json explained = nlohmann::json::parse(read_bytes(path("summary.json")))["explanations"];
  ASSERT_EQ(explained.size(), 2u) << "of the third nothing was fitted";
  EXPECT_EQ(explained[0]["region"], 1);
  EXPECT_EQ(explained[0]["chi_squared_before"], 70);
  EXPECT_EQ(explained[0]["chi_squared_after"], 18);
  EXPECT_EQ(explained[0]["channels"], 16);
  const nlohmann::json &shift = explained[0]["changes"][0], &peak = explained[0]["changes"][1];
  EXPECT_EQ(shift["kind"], "shift");
  EXPECT_TRUE(shift["edges"].empty());
  EXPECT_EQ(shift["from_ev"], 702);
  EXPECT_EQ(shift["to_ev"], 704);
  EXPECT_TRUE(shift["energy_uncertainty_ev"].is_null());
  EXPECT_EQ(shift["value"], 1.2);
  EXPECT_EQ(shift["uncertainty"], 0.3);
  EXPECT_EQ(shift["unit"], "eV");
  EXPECT_EQ(shift["text"], "the peak at 704.0 eV moved by +1.2 \u00b1 0.3 eV");
  EXPECT_EQ(peak["edges"], nlohmann::json::array({"Fe L3"}));
  EXPECT_EQ(peak["energy_uncertainty_ev"], 0.25);
  EXPECT_EQ(peak["unit"], "share");
  const std::string none = "none of the known changes explains it, chi-squared 4 per channel";
  EXPECT_EQ(explained[1]["text"], none);
  EXPECT_TRUE(explained[1]["changes"].empty());

  const std::string table = read_bytes(path("regions.csv"));
  EXPECT_NE(table.find(",what changed,chi-squared before,chi-squared after,channels\r\n"), std::string::npos);
  EXPECT_NE(table.find(",\"" + none + "\",64,64,16\r\n"), std::string::npos) << table;
  EXPECT_TRUE(table.ends_with(",\"\",,,,\r\n")) << table;
}

}  // namespace
}  // namespace eelsvae
