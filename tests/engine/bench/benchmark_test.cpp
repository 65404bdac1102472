#include "engine/bench/benchmark.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <set>
#include <string>
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

// A loop that moved less than it says would be a ceiling above the machine's. Other devices have none of
// their own.
TEST(CeilingLoops, MoveWhatTheySay) {
  const std::unique_ptr<Backend> cpu = make_backend("cpu", "fp32");
  const size_t bytes = size_t{4} << 20, count = bytes / sizeof(float);
  const BackendMemory memory(*cpu, bytes);
  std::vector<float> before(count), after(count);
  for (size_t i = 0; i < count; ++i) before[i] = static_cast<float>(i % 1000);
  std::set<std::string> names;
  for (const CeilingLoop& loop : cpu->ceiling_loops(memory.data(), bytes)) {
    SCOPED_TRACE(loop.name);
    names.insert(loop.name);
    cpu->upload(before.data(), memory.data(), bytes);
    loop.run();
    cpu->download(memory.data(), after.data(), bytes);
    size_t changed = 0;
    for (size_t i = 0; i < count; ++i) changed += before[i] != after[i];
    if (loop.traffic == CeilingLoop::Traffic::none) {
      EXPECT_GT(loop.flops, 0);
      EXPECT_EQ(loop.bytes, 0);
      EXPECT_EQ(changed, 0u);
      continue;
    }
    EXPECT_EQ(loop.flops, 0);
    if (loop.name == std::string("read")) {
      EXPECT_EQ(changed, 0u);
      EXPECT_EQ(loop.bytes, static_cast<double>(bytes));
    } else if (loop.name == std::string("copy")) {  // of the first half to the second
      EXPECT_TRUE(std::equal(before.begin(), before.begin() + count / 2, after.begin() + count / 2));
      EXPECT_EQ(loop.bytes, static_cast<double>(bytes));
    } else {  // every number is read and written
      EXPECT_EQ(changed, count);
      EXPECT_EQ(loop.bytes, static_cast<double>(2 * bytes));
    }
  }
  EXPECT_EQ(names, (std::set<std::string>{"FMA f32", "read", "update in place", "copy"}));
}

class BenchmarkTest : public BackendTest {};

TEST_P(BenchmarkTest, EveryBackendIsVerified) {
  for (ReconstructionLoss loss :
       {ReconstructionLoss::cross_entropy, ReconstructionLoss::mse, ReconstructionLoss::poisson})
    for (const Check& check : verify(backend(), loss))
      EXPECT_TRUE(check.passed()) << check.what << " " << check.error << ", tolerance " << check.tolerance;
}

EELSVAE_FOR_EACH_BACKEND(BenchmarkTest);

}  // namespace
}  // namespace eelsvae
