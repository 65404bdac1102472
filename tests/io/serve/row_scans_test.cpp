// Scans that learn from their first rows.

#include "io/serve/row_scans.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "engine/detect/kept_detection.h"
#include "kernels/error.h"
#include "tests/io/serve/noisy_film.h"

namespace eelsvae {
namespace {

using namespace noisy;

LearnFromRows learning_of(int64_t rows) {
  LearnFromRows learning;
  learning.rows = rows;
  learning.preprocess.xy_window = 1;
  return learning;
}

ScanPlan plan_of(const SpectrumImage& image) {
  return {image.y.size, image.x.size, image.energy, image.excluded};
}

void push(LiveScan& scan, const SpectrumImage& image, int64_t first, int64_t count) {
  scan.push(first, count, {image.spectrum(first), static_cast<size_t>(count * channels)});
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

// What the scan would be by the state of its first rows.
std::unique_ptr<LiveScan> scan_by_state_of(const SpectrumImage& image, int64_t rows) {
  const LearnFromRows learning = learning_of(rows);
  SpectrumImage first = SpectrumImageView(image).rows(0, rows).copy();
  auto state = std::make_shared<const DetectionState>(learn_state(
      std::move(first), learning.baseline, learning.preprocess, learning.detection, std::nullopt));
  return ScansByState(state, "state").open(plan_of(image));
}

TEST(LearningScans, AreScoredByWhatTheirFirstRowsShow) {
  const SpectrumImage image = film();
  const std::unique_ptr<LiveScan> expected = scan_by_state_of(image, learned);
  push(*expected, image, 0, height * width);
  expected->finish();

  LearningScans source(learning_of(learned));
  const std::unique_ptr<LiveScan> scan = source.open(plan_of(image));
  SpectrumImage wrong = image;
  for (float& count : wrong.counts) count = 1;
  push(*scan, wrong, 5, 3);  // come again before their row is complete
  for (int64_t y = 0; y < learned; ++y) {
    EXPECT_EQ(scan->scored_rows(), 0);
    EXPECT_FALSE(std::isfinite(scan->threshold()));
    EXPECT_THROW(scan->result(), UserError);
    push(*scan, image, y * width + 10, width - 10);
    push(*scan, image, y * width, 10);
  }
  EXPECT_EQ(scan->complete_rows(), learned);
  EXPECT_EQ(scan->counts(), (ScanCounts{learned * width, 3, 0, 0}));
  push(*scan, image, learned * width, (height - learned) * width);
  scan->finish();
  EXPECT_EQ(scan->final_rows(), height);
  EXPECT_TRUE(same_bits(scan->scores(), expected->scores()));
  EXPECT_EQ(scan->threshold(), expected->threshold());
}

TEST(LearningScans, LearnWithoutWhatIsMissing) {
  const SpectrumImage image = film();
  LearningScans source(learning_of(learned));
  const std::unique_ptr<LiveScan> scan = source.open(plan_of(image));
  for (int64_t y = 0; y < 2 * learned; ++y) push(*scan, image, y * width, width - (y % 3 == 0));
  scan->finish();
  EXPECT_EQ(scan->counts().received, 2 * learned * width - 8);
  EXPECT_EQ(scan->counts().missing, height * width - scan->counts().received);
  EXPECT_TRUE(std::isfinite(scan->scores()[0]));
  EXPECT_TRUE(std::isnan(scan->scores()[width - 1]));
}

TEST(LearningScans, ShortScanLearnsFromAllOfIt) {
  const SpectrumImage image = film();
  LearningScans source(learning_of(1000));
  const std::unique_ptr<LiveScan> scan = source.open(plan_of(image));
  push(*scan, image, 0, (height - 1) * width);
  EXPECT_EQ(scan->scored_rows(), 0);
  const Rows rows = scan->finish();
  EXPECT_EQ(rows, (Rows{0, height}));
  EXPECT_TRUE(std::isfinite(scan->scores()[0]));
}

TEST(LearningScans, OfNothingNothingIsLearned) {
  const SpectrumImage image = film();
  LearningScans source(learning_of(learned));
  // The end of the scan, not a mistake of who sends it.
  const auto ends = [](const auto& call) {
    try {
      call();
      ADD_FAILURE() << "the scan goes on";
    } catch (const UserError& error) {
      ADD_FAILURE() << "taken for a mistake: " << error.what();
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string(error.what()).find("nothing can be learned"), std::string::npos) << error.what();
    }
  };
  ends([&] { source.open(plan_of(image))->finish(); });
  SpectrumImage alike = image;
  std::fill(alike.counts.begin(), alike.counts.end(), 100.0f);
  const std::unique_ptr<LiveScan> scan = source.open(plan_of(image));
  EXPECT_THROW(push(*scan, alike, height * width - 1, 2), UserError);
  ends([&] { push(*scan, alike, 0, height * width); });
  LearnFromRows otsu = learning_of(learned);
  otsu.detection.threshold_method = ThresholdMethod::otsu;
  EXPECT_THROW(LearningScans{otsu}, UserError);
}

TEST(ScansByState, OfAModelNeedIt) {
  DetectionState state;
  state.model_fingerprint = "a model";
  try {
    ScansByState(std::make_shared<const DetectionState>(state), "found");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("--model RUN"), std::string::npos);
  }
}

}  // namespace
}  // namespace eelsvae
