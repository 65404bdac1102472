// The same programs on processors that differ: EELSVAE_MAX_ISA stands in for the lesser ones.

#include <cmath>

#include "io/files/npy.h"
#include "kernels/backend.h"
#include "kernels/tolerances.h"
#include "tests/apps/programs_test.h"

namespace eelsvae {
namespace {

class ProcessorsTest : public ProgramsTest {};

// What is found of an image, by a model that was trained elsewhere, depends on the processor by rounding
// only.
TEST_F(ProcessorsTest, ScoresDependOnTheKernelsByRoundingOnly) {
  simulate_film();
  write_config({{"model", {{"channels", {4, 8, 16, 32}}}}});
  ASSERT_EQ(train("run").status, 0);
  std::vector<NpyArray> scores;
  for (const BackendVariant& variant : find_backend("cpu", "fp32").variants) {
    options_.environment["EELSVAE_MAX_ISA"] = variant.kernels;
    const ProgramResult result =
        detect("found-" + variant.kernels, {"--set", "device=cpu", "--set", "precision=fp32"});
    ASSERT_EQ(result.status, 0) << result.err;
    scores.push_back(read_npy(path("found-" + variant.kernels + "/scores.npy")));
  }
  double difference = 0, norm = 0;
  for (const NpyArray& other : scores) {
    ASSERT_EQ(other.values.size(), scores[0].values.size());
    for (size_t i = 0; i < other.values.size(); ++i) {
      const double a = static_cast<double>(other.values[i]), b = static_cast<double>(scores[0].values[i]);
      difference += (a - b) * (a - b);
      norm += b * b;
    }
  }
  // A score is the largest of many responses to a residual, a small difference of spectra.
  EXPECT_LE(std::sqrt(difference), 10 * tolerance_of("fp32").output * std::sqrt(norm));
}

#ifdef __x86_64__

TEST_F(ProcessorsTest, ACapThatIsNoneIsAMistakeOfOneLine) {
  options_.environment["EELSVAE_MAX_ISA"] = "avx1024";
  expect_mistake(program("bench", {"--device", "cpu"}), {"EELSVAE_MAX_ISA=avx1024", "avx2", "amx"});
}

TEST_F(ProcessorsTest, TheLogNamesTheKernels) {
  simulate_film();
  write_config();
  options_.environment["EELSVAE_MAX_ISA"] = "avx2";
  const ProgramResult result = train("run", {"--set", "device=cpu", "--set", "precision=auto"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("kernels avx2, "), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("is the fastest here"), std::string::npos) << result.out;
}

#endif

}  // namespace
}  // namespace eelsvae
