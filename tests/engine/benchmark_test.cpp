#include "engine/benchmark.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/kernels/backend_test.h"

namespace eelsvae {
namespace {

TEST(Benchmark, PercentilesAreSamples) {
  std::vector<double> samples;
  for (int i = 100; i >= 1; --i) samples.push_back(i);
  EXPECT_EQ(percentile(samples, 0.5), 50);
  EXPECT_EQ(percentile(samples, 0.99), 99);
  EXPECT_EQ(percentile(samples, 1), 100);
  EXPECT_EQ(percentile({3}, 0.5), 3);
  EXPECT_EQ(percentile({3, 1, 2}, 0), 1);
  const Timing timing = summarize({4, 1, 3, 2});
  EXPECT_EQ(timing.minimum, 1);
  EXPECT_EQ(timing.quartile1, 1);
  EXPECT_EQ(timing.median, 2);
  EXPECT_EQ(timing.quartile3, 3);
  EXPECT_EQ(timing.maximum, 4);
  EXPECT_EQ(timing.repetitions, 4);
}

TEST(Benchmark, WhatIsNotANumberFailsItsCheck) {
  EXPECT_TRUE((Check{"", 1e-3, 1e-3}).passed());
  EXPECT_FALSE((Check{"", 2e-3, 1e-3}).passed());
  EXPECT_FALSE((Check{"", std::numeric_limits<double>::quiet_NaN(), 1e-3}).passed());
}

class BenchmarkTest : public BackendTest {};

TEST_P(BenchmarkTest, EveryBackendIsVerified) {
  for (ReconstructionLoss loss : {ReconstructionLoss::cross_entropy, ReconstructionLoss::mse})
    for (const Check& check : verify(backend(), loss))
      EXPECT_TRUE(check.passed()) << check.what << " " << check.error << ", tolerance " << check.tolerance;
}

EELSVAE_FOR_EACH_BACKEND(BenchmarkTest);

}  // namespace
}  // namespace eelsvae
