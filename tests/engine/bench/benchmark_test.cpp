#include "engine/bench/benchmark.h"

#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <thread>

#include "engine/bench/processor_time.h"
#include "kernels/backend_memory.h"
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

TEST(Ceilings, WhatTakesLongestBinds) {
  using Traffic = CeilingLoop::Traffic;
  Ceilings ceilings;
  ceilings.copy_bytes_per_second = 10;
  ceilings.product_flops_per_second = 100;
  EXPECT_EQ(ceilings.flops_per_second(), 100);
  EXPECT_EQ(ceilings.read_bytes_per_second(), 10);  // nothing better is known
  ceilings.loops = {{Traffic::none, "", 200, 150}, {Traffic::read, "", 40, 30}, {Traffic::write, "", 20, 10}};
  EXPECT_EQ(ceilings.flops_per_second(), 200);
  EXPECT_EQ(ceilings.bytes_per_second(), 20);

  const Ceilings::Bound computes = ceilings.bound(2000, 50, 50), moves = ceilings.bound(200, 50, 50),
                        reads = ceilings.bound(200, 78, 2);
  EXPECT_EQ(computes.kind, Ceilings::Kind::arithmetic);
  EXPECT_EQ(computes.seconds, 10);
  EXPECT_EQ(moves.kind, Ceilings::Kind::memory);
  EXPECT_EQ(moves.seconds, 5);
  EXPECT_EQ(reads.kind, Ceilings::Kind::reading);
  EXPECT_EQ(reads.seconds, 2);
}

TEST(ProcessorTime, CountsWorkAndNotSleep) {
  using namespace std::chrono;
  const double asleep = processor_seconds_of([] { std::this_thread::sleep_for(milliseconds(200)); });
  EXPECT_LT(asleep, 0.1);
  const double awake = processor_seconds_of([] {
    // As long as the clock says half a second, of which other programs may take the most.
    for (const auto end = steady_clock::now() + milliseconds(500); steady_clock::now() < end;) {
    }
  });
  EXPECT_GT(awake, 0.02);
  EXPECT_LT(awake, 0.6);
}

class BenchmarkTest : public BackendTest {};

TEST_P(BenchmarkTest, CeilingLoopsRun) {
  const size_t bytes = size_t{4} << 20;
  const BackendMemory memory(backend(), bytes);
  for (const CeilingLoop& loop : backend().ceiling_loops(memory.data(), bytes)) {
    SCOPED_TRACE(loop.name);
    EXPECT_EQ(loop.traffic == CeilingLoop::Traffic::none, loop.flops > 0);
    EXPECT_EQ(loop.traffic == CeilingLoop::Traffic::none, loop.bytes == 0);
    loop.run();
  }
}

TEST_P(BenchmarkTest, EveryBackendIsVerified) {
  for (ReconstructionLoss loss : {ReconstructionLoss::cross_entropy, ReconstructionLoss::mse})
    for (const Check& check : verify(backend(), loss))
      EXPECT_TRUE(check.passed()) << check.what << " " << check.error << ", tolerance " << check.tolerance;
}

EELSVAE_FOR_EACH_BACKEND(BenchmarkTest);

}  // namespace
}  // namespace eelsvae
