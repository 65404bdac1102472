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

}  // namespace
}  // namespace eelsvae
