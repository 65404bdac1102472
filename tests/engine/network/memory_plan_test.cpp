#include "engine/network/memory_plan.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "kernels/philox.h"
#include "tests/engine/network/plan_properties.h"

namespace eelsvae {
namespace {

// Runs of spaces as one.
std::string squeezed(const std::string& text) {
  std::string result;
  for (char c : text)
    if (c != ' ' || result.empty() || result.back() != ' ') result += c;
  return result;
}

TEST(MemoryPlan, BuffersOfRandomLifetimesNeverShareMemoryWhileBothLive) {
  for (uint64_t trial = 0; trial < 300; ++trial) {
    MemoryPlan plan;
    size_t sum = 0;
    const uint32_t buffers = 1 + philox(trial, 0, 0).v[0] % 40;
    for (uint64_t i = 1; i <= buffers; ++i) {
      const Philox4 r = philox(trial, i, 0);
      const int first = static_cast<int>(r.v[0] % 20);
      const int last = r.v[1] % 5 == 0 ? MemoryPlan::forever : first + static_cast<int>(r.v[1] % 12);
      if (r.v[2] % 3 == 0)
        plan.add_bytes("bytes", r.v[3] % 5000, first, last);
      else
        plan.add("array", {1 + r.v[2] % 7, 1 + r.v[3] % 500}, r.v[3] % 2 ? DType::f32 : DType::bf16, first,
                 last);
      sum += (plan.buffers().back().bytes + 255) / 256 * 256;
    }
    plan.place();
    ASSERT_TRUE(is_placed_soundly(plan)) << "trial " << trial;
    ASSERT_LE(plan.bytes(), sum) << "trial " << trial << ": more than without sharing";
    ASSERT_GE(plan.bytes(), most_live_bytes(plan)) << "trial " << trial;
  }
}

TEST(MemoryPlan, NeedsNoMoreThanWhatLivesAtOnce) {
  MemoryPlan chain;  // a, b, c, ...: each lives with its neighbours only
  for (int i = 0; i < 10; ++i) chain.add("layer", {1024}, DType::f32, i, i + 1);
  chain.place();
  EXPECT_EQ(chain.bytes(), 2u * 4096);

  MemoryPlan nested;  // kept from the forward pass to the backward pass, as activations are
  for (int i = 0; i < 10; ++i) nested.add("activation", {1024}, DType::f32, i, 20 - i);
  nested.place();
  EXPECT_EQ(nested.bytes(), 10u * 4096);

  MemoryPlan nothing;
  nothing.place();
  EXPECT_EQ(nothing.bytes(), 0u);
}

TEST(MemoryPlan, BuffersThatMeetInOneOperationDoNotShare) {
  MemoryPlan plan;
  const BufferId a = plan.add("a", {64}, DType::f32, 0, 3), b = plan.add("b", {64}, DType::f32, 3, 5),
                 c = plan.add("c", {64}, DType::f32, 4, 5);
  plan.place();
  EXPECT_NE(plan[a].offset, plan[b].offset);
  EXPECT_NE(plan[b].offset, plan[c].offset);
  EXPECT_EQ(plan[a].offset, plan[c].offset);
}

TEST(MemoryPlan, LargeBuffersDoNotMeetInACache) {
  MemoryPlan plan;
  constexpr int64_t mebibyte = 1 << 20;
  std::vector<BufferId> buffers;
  for (int i = 0; i < 4; ++i) buffers.push_back(plan.add("weights", {mebibyte}, DType::f32));
  plan.place();
  // Nor in a part of a cache, however large a power of two it holds.
  for (size_t i = 1; i < buffers.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      EXPECT_GE((plan[buffers[i]].offset - plan[buffers[j]].offset) % mebibyte, 4096u) << i << " " << j;
}

TEST(MemoryPlan, TableListsBuffersLargestFirstAndTotals) {
  MemoryPlan plan;
  plan.add("small thing", {2, 3}, DType::bf16, 4, 7);
  plan.add("big thing", {1 << 20, 256}, DType::f32, 0, 3);
  plan.add("other big thing", {1 << 20, 256}, DType::f32, 4, 5);
  plan.add_bytes("scratch", 1000);
  plan.place();
  const std::string table = squeezed(plan.table() + plan.summary({size_t{8} << 30, size_t{3} << 29}));
  EXPECT_LT(table.find("big thing"), table.find("small thing")) << table;
  EXPECT_NE(table.find("\nsmall thing 2 x 3 bf16 0.000 4 to 7\n"), std::string::npos) << table;
  EXPECT_NE(table.find("\nscratch bytes 0.001 always\n"), std::string::npos) << table;
  EXPECT_NE(table.find("4 buffers, 2.000 GiB; sharing by lifetime brings them down to 1.000 GiB."),
            std::string::npos)
      << table;
  EXPECT_NE(table.find("The device has 8.000 GiB, 1.500 GiB of them free."), std::string::npos) << table;
}

TEST(Arena, RefusesAPlanThatDoesNotFitWithBothNumbers) {
  const std::unique_ptr<Backend> backend = make_backend("cpu", "fp32");
  MemoryPlan plan;
  plan.add("too much", {int64_t{1} << 20, int64_t{1} << 20, 256}, DType::f32);  // 1 PiB
  plan.place();
  try {
    Arena arena(*backend, plan);
    FAIL() << "got 1 PiB";
  } catch (const UserError& error) {
    const std::string message = error.what();
    double needed = 0, available = 0;
    const size_t numbers = message.find("the plan needs");
    ASSERT_NE(numbers, std::string::npos) << message;
    EXPECT_EQ(std::sscanf(message.c_str() + numbers, "the plan needs %lf GiB, %lf GiB are free", &needed,
                          &available),
              2)
        << message;
    EXPECT_EQ(needed, 1 << 20);
    EXPECT_GT(available, 0);
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

TEST(Arena, IsZeroAndHandsOutEveryBuffersPlace) {
  const std::unique_ptr<Backend> backend = make_backend("cpu", "fp32");
  MemoryPlan plan;
  const BufferId a = plan.add("a", {5, 7}, DType::f32), b = plan.add("b", {3}, DType::f64),
                 raw = plan.add_bytes("raw", 10);
  plan.place();
  const Arena arena(*backend, plan);
  EXPECT_EQ(arena.array(a).count, 35);
  EXPECT_EQ(arena.array(a).type, DType::f32);
  EXPECT_EQ(arena.array(b).type, DType::f64);
  std::vector<float> values(35, 1.0f);
  backend->download(arena.array(a).data, values.data(), arena.array(a).bytes());
  EXPECT_EQ(values, std::vector<float>(35, 0.0f));
  for (BufferId id : {a, b, raw}) EXPECT_EQ(reinterpret_cast<uintptr_t>(arena.at(id)) % 256, 0u);
}

}  // namespace
}  // namespace eelsvae
