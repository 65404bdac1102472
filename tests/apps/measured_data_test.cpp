// A measured spectrum image through training and detection, and the result in HyperSpy's hands.

#include <cmath>

#include "io/files/npy.h"
#include "tests/apps/programs_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;

class MeasuredDataTest : public ProgramsTest {};

TEST_F(MeasuredDataTest, CopperZincMap) {
  const std::string file = shared_data("CuZn_EELS_mapping.hspy");
  if (file.empty()) GTEST_SKIP() << "shared/data is missing";
  const ProgramResult trained = program("train", {source_file("configs/cuzn.json"), "--data", file,
                                                  "--output", "run", "--set", "training.epochs=2"});
  ASSERT_EQ(trained.status, 0) << trained.err;
  const std::vector<json> metrics = json_lines(path("run/metrics.jsonl"));
  ASSERT_EQ(metrics.size(), 2u);
  EXPECT_LT(metrics[1]["training"]["loss"], metrics[0]["training"]["loss"]);

  const ProgramResult detected = program("detect", {"--model", "run", "--data", file, "--output", "found"});
  ASSERT_EQ(detected.status, 0) << detected.err;
  const NpyArray scores = read_npy(path("found/scores.npy"));
  EXPECT_EQ(scores.shape, (std::vector<int64_t>{50, 40}));
  EXPECT_TRUE(
      std::all_of(scores.values.begin(), scores.values.end(), [](float v) { return std::isfinite(v); }));

  const ProgramResult python = run_python("check_hspy.py", {path("found/scores.hspy")});
  if (python.status == 77) GTEST_SKIP() << "HyperSpy is missing; the rest passed";
  ASSERT_EQ(python.status, 0) << python.err;
  const json seen = json::parse(python.out);
  EXPECT_EQ(seen["complaints"], json::array());
  EXPECT_EQ(seen["shape"], (json{50, 40}));
  ASSERT_EQ(seen["axes"].size(), 2u);
  for (const json& axis : seen["axes"]) {
    EXPECT_EQ(axis["units"], "nm");
    EXPECT_NEAR(axis["scale"], 0.92139, 1e-5);
  }
  double checksum = 0;
  for (size_t i = 0; i < scores.values.size(); ++i)
    checksum += static_cast<double>(scores.values[i]) * static_cast<double>(i % 1009);
  EXPECT_NEAR(seen["checksum"], checksum, 1e-9 * checksum);
}

}  // namespace
}  // namespace eelsvae
