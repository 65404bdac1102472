#include "kernels/cuda/choose_fastest.h"

#include <chrono>
#include <fstream>
#include <iterator>
#include <limits>
#include <thread>

#include "kernels/cuda/definition.h"
#include "tests/kernels/backend_test.h"
#include "tests/kernels/plan_cache_folder.h"

namespace eelsvae {
namespace {

using emulated::Candidate;

// The emulated device takes choices as a GPU does; its clock is the host's.
struct ChooseFastestTest : PlanCacheFolderTest {
  // Takes so long on the device each time, and counts how often it was run there.
  Candidate waiting(const std::string& name, std::chrono::milliseconds time, int* runs = nullptr) {
    const auto run = [this, time, runs] {
      emulated_device::enqueue(backend_.stream(), {}, [time, runs] {
        std::this_thread::sleep_for(time);
        if (runs) ++*runs;
      });
    };
    return {name, run, {}};
  }
  size_t choose(const std::string& key, const std::vector<Candidate>& candidates) {
    return emulated::choose_fastest(backend_, key, candidates);
  }
  void expect_note(const std::string& name, const std::string& reason) const {
    ASSERT_EQ(backend_.notes().size(), 1u);
    for (const std::string& part : {name + " is passed over", reason})
      EXPECT_NE(backend_.notes()[0].find(part), std::string::npos) << backend_.notes()[0];
  }

  emulated::CudaBackend backend_{0, "fp32", /*measures_choices=*/true};
};

TEST_F(ChooseFastestTest, TheFastestIsTakenAndWhatIsMuchSlowerIsNotTimedToTheEnd) {
  int fast = 0, slow = 0;
  using std::chrono::milliseconds;
  const std::vector<Candidate> candidates = {waiting("medium", milliseconds(3)),
                                             waiting("fast", milliseconds(1), &fast),
                                             waiting("slow", milliseconds(60), &slow)};
  EXPECT_EQ(choose("k", candidates), 1u);
  EXPECT_GE(fast, 5);
  EXPECT_EQ(slow, 2);  // once to bring the code to the device, once by the clock
  EXPECT_TRUE(backend_.notes().empty());
}

TEST_F(ChooseFastestTest, WhatIsKnownIsCheckedAndNotTimed) {
  int runs = 0, checks = 0;
  const auto candidates = [&] {
    std::vector<Candidate> list = {waiting("a", std::chrono::milliseconds(0), &runs),
                                   waiting("b", std::chrono::milliseconds(20))};
    for (Candidate& candidate : list) candidate.check = [&] { ++checks; };
    return list;
  };
  EXPECT_EQ(choose("k", candidates()), 0u);
  EXPECT_EQ(checks, 2);
  EXPECT_GT(runs, 0);
  runs = 0;
  EXPECT_EQ(choose("k", candidates()), 0u);
  EXPECT_EQ(checks, 3);
  EXPECT_EQ(runs, 0);
  EXPECT_EQ(choose("the only one", {candidates()[1]}), 0u);
  EXPECT_EQ(checks, 4);
}

TEST_F(ChooseFastestTest, WhatCannotBeRecordedIsPassedOver) {
  const auto wait = [&] {
    emulated::check(cudaStreamSynchronize(backend_.stream()), "cudaStreamSynchronize");
  };
  EXPECT_EQ(choose("k", {{"a", wait, {}}, waiting("b", std::chrono::milliseconds(1))}), 1u);
  expect_note("a", "cudaStreamSynchronize: cudaErrorStreamCaptureUnsupported");
  EXPECT_THROW(choose("none", {{"a", wait, {}}, {"c", wait, {}}}), std::runtime_error);
}

TEST_F(ChooseFastestTest, WhatComputesSomethingElseIsPassedOver) {
  std::vector<Candidate> candidates = {waiting("a", std::chrono::milliseconds(0)),
                                       waiting("b", std::chrono::milliseconds(1))};
  candidates[0].check = [] { throw std::runtime_error("gives wrong results"); };
  EXPECT_EQ(choose("k", candidates), 1u);
  expect_note("a", "wrong results");
  EXPECT_THROW(choose("the only one", {candidates[0]}), std::runtime_error);
}

TEST_F(ChooseFastestTest, TooLittleMemoryIsSaidAsThat) {
  const auto exhaust = [] { emulated::DeviceMemoryBlock block(std::numeric_limits<size_t>::max() / 2); };
  EXPECT_THROW(choose("k", {{"a", exhaust, {}}, waiting("b", std::chrono::milliseconds(0))}), UserError);

  // Layers whose arrays do not fit.
  const Conv3dProblem images = {1 << 22, {64, 64, 64}, 32, 32, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}};
  const auto error_of = [](const auto& make) -> std::string {
    try {
      make();
    } catch (const UserError& error) {
      return error.what();
    }
    return "no error";
  };
  for (const std::string& error :
       {error_of([&] { backend_.make_conv3d(images, /*transposed=*/false, true, Passes::training); }),
        error_of([&] {
          backend_.make_linear({1, int64_t{1} << 22, int64_t{1} << 22}, Passes::forward);
        })}) {
    EXPECT_NE(error.find("not enough memory"), std::string::npos) << error;
    EXPECT_NE(error.find("smaller batch"), std::string::npos) << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
  EXPECT_TRUE(backend_.notes().empty());
}

TEST_F(ChooseFastestTest, WhatTheDefinitionStandsInForIsNoted) {
  emulated::CudaBackend backend(0, "bf16", /*measures_choices=*/true);
  backend.make_conv3d({1, {2, 3, 9}, 3, 5, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}}, false, true, Passes::forward);
  ASSERT_EQ(backend.notes().size(), 1u);
  for (const char* part : {"channels 3-5", "cuDNN has nothing", "by the definition"})
    EXPECT_NE(backend.notes()[0].find(part), std::string::npos) << backend.notes()[0];
}

// Of two ways each: through the folded problem and directly; our own and the library's.
TEST_F(ChooseFastestTest, LayersMeasureThePassesTheyAreMadeFor) {
  const Conv3dProblem p = {1, {2, 3, 16}, 8, 8, {3, 3, 5}, {1, 1, 2}, {1, 1, 2}};
  const LinearProblem linear = {2, 64, 48};
  const auto known = [&](const std::string& key) {
    std::ifstream plans(file());
    const std::string text(std::istreambuf_iterator<char>(plans), {});
    return text.find('"' + key) != std::string::npos;
  };
  backend_.make_conv3d(p, /*transposed=*/false, /*relu=*/true, Passes::forward);
  backend_.make_conv3d(p, /*transposed=*/true, /*relu=*/false, Passes::forward);
  backend_.make_linear(linear, Passes::forward);
  EXPECT_TRUE(known("convolution + bias + ReLU, fp32"));
  EXPECT_TRUE(known("transposed convolution + bias, fp32"));
  EXPECT_TRUE(known("linear forward"));
  for (const char* key : {"transposed convolution, fp32", "convolution, fp32",
                          "convolution's weight gradient, fp32", "linear backward data"})
    EXPECT_FALSE(known(key)) << key;
  backend_.make_conv3d(p, /*transposed=*/false, /*relu=*/true, Passes::training);
  backend_.make_conv3d(p, /*transposed=*/true, /*relu=*/true, Passes::training);
  backend_.make_linear(linear, Passes::training);
  for (const char* key : {"transposed convolution, fp32", "convolution, fp32",
                          "convolution's weight gradient, fp32", "linear backward data"})
    EXPECT_TRUE(known(key)) << key;
  EXPECT_TRUE(backend_.notes().empty()) << backend_.notes()[0];
}

}  // namespace
}  // namespace eelsvae
