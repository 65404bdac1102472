// What cuDNN offers for an H100 can be asked without one.
#ifdef EELSVAE_HAVE_CUDA
#include <cudnn.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "kernels/cuda/convolution_plan.h"
#include "kernels/cuda/fold.h"
#include "tests/folders.h"

// These stand before cuDNN's own, so that a test can have the finalizing of execution plans fail.
namespace {

std::set<cudnnBackendDescriptor_t> execution_plans;
std::optional<cudnnStatus_t> plan_status;  // of every plan but each `spared`-th
int spared = 0, finalized_plans = 0;

template <typename Function>
Function* in_cudnn(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t* descriptor) {
  static auto* const create =
      in_cudnn<decltype(cudnnBackendCreateDescriptor)>("cudnnBackendCreateDescriptor");
  const cudnnStatus_t status = create(type, descriptor);
  if (type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)
    execution_plans.insert(*descriptor);
  else
    execution_plans.erase(*descriptor);
  return status;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  static auto* const finalize = in_cudnn<decltype(cudnnBackendFinalize)>("cudnnBackendFinalize");
  if (plan_status && execution_plans.count(descriptor) > 0 &&
      (spared == 0 || ++finalized_plans % spared != 0))
    return *plan_status;
  return finalize(descriptor);
}

}  // extern "C"

namespace eelsvae::cuda {
namespace {

DeviceProperties h100() {
  std::ifstream file(source_file("tests/fixtures/h100-device-properties.json"));
  EXPECT_TRUE(file);
  DeviceProperties device = {"H100", 9, 0, size_t{85} * 1000 * 1000 * 1000, size_t{50} << 20, ""};
  device.cudnn_json.assign(std::istreambuf_iterator<char>(file), {});
  return device;
}

const size_t limit = workspace_limit(h100());

// The inner layers of the published network on tiles of 24 x 24 x 1312.
Conv3dProblem first(int64_t batch) {
  return {batch, {24, 24, 656}, 32, 64, {3, 3, 5}, {1, 1, 2}, {1, 1, 2}};
}
Conv3dProblem second(int64_t batch) {
  return {batch, {24, 24, 328}, 64, 128, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}};
}
Conv3dProblem third(int64_t batch) {
  return {batch, {12, 12, 164}, 128, 256, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}};
}

struct Case {
  const char* name;
  Conv3dProblem problem;
  ConvolutionPass pass;
  bool fused;
};

std::vector<Case> cases(int64_t batch) {
  std::vector<Case> result;
  const struct {
    const char* name;
    Conv3dProblem problem;
  } layers[] = {{"32-64", first(batch)},
                {"32-64 folded", Fold(first(batch)).folded()},
                {"32-64 folded adjoint", Fold(first(batch)).adjoint()},
                {"64-128", second(batch)},
                {"128-256", third(batch)}};
  for (const auto& layer : layers) {
    result.push_back({layer.name, layer.problem, ConvolutionPass::forward, true});
    result.push_back({layer.name, layer.problem, ConvolutionPass::forward, false});
    result.push_back({layer.name, layer.problem, ConvolutionPass::backward_data, false});
    result.push_back({layer.name, layer.problem, ConvolutionPass::backward_weights, false});
  }
  return result;
}

const char* name_of(ConvolutionPass pass, bool fused) {
  if (pass == ConvolutionPass::forward) return fused ? "forward + bias + ReLU" : "forward";
  return pass == ConvolutionPass::backward_data ? "backward data" : "backward weights";
}

// "engine 62" of "engine 62, tensor cores (2=1, 27=8)", with a star if it forms clusters of blocks (knob 27),
// which came with Hopper.
std::string engine_of(const std::string& name) {
  return name.substr(0, name.find_first_not_of("0123456789", std::string("engine ").size())) +
         (name.find("27=") == std::string::npos ? "" : "*");
}
bool on_tensor_cores(const ConvolutionPlan& plan) {
  return plan.name().find("tensor cores") != std::string::npos;
}

class ConvolutionPlans : public testing::TestWithParam<Math> {};
const char* math_name(Math math) {
  return math == Math::fp32 ? "fp32" : math == Math::tf32 ? "tf32" : "bf16";
}
INSTANTIATE_TEST_SUITE_P(Precisions, ConvolutionPlans, testing::Values(Math::fp32, Math::tf32, Math::bf16),
                         [](const auto& math) { return math_name(math.param); });

TEST_P(ConvolutionPlans, EveryPassOfEveryLayerHasSomeOnAnH100) {
  const Math math = GetParam();
  for (int64_t batch : {1, 8})
    for (const Case& c : cases(batch)) {
      SCOPED_TRACE(testing::Message() << c.name << " " << name_of(c.pass, c.fused) << ", batch " << batch);
      const auto plans = convolution_plans({c.problem, c.pass, math, c.fused, c.fused}, h100(), limit);
      ASSERT_FALSE(plans.empty());
      std::vector<std::string> engines;  // in cuDNN's order
      std::set<std::string> names;
      size_t smallest = SIZE_MAX, largest = 0;
      for (const auto& plan : plans) {
        EXPECT_TRUE(names.insert(plan->name()).second) << plan->name() << " twice";
        if (math != Math::tf32) {
          EXPECT_EQ(on_tensor_cores(*plan), math == Math::bf16) << plan->name();
        }
        const std::string engine = engine_of(plan->name());
        if (std::find(engines.begin(), engines.end(), engine) == engines.end()) engines.push_back(engine);
        smallest = std::min(smallest, plan->workspace_bytes());
        largest = std::max(largest, plan->workspace_bytes());
      }
      std::printf("%s  batch %d  %-20s  %-21s  %zu plans, workspace %6.2f to %6.2f MB", math_name(math),
                  static_cast<int>(batch), c.name, name_of(c.pass, c.fused), plans.size(),
                  static_cast<double>(smallest) * 1e-6, static_cast<double>(largest) * 1e-6);
      for (const std::string& engine : engines)
        std::printf("%s %s", &engine == &engines.front() ? ":" : ",", engine.c_str());
      std::printf("\n");
      EXPECT_LE(largest, limit);
      EXPECT_LE(smallest, size_t{4} << 20);
      if (math == Math::bf16) {
        EXPECT_TRUE(on_tensor_cores(*plans.front()));
        EXPECT_LE(plans.front()->workspace_bytes(), size_t{16} << 20);
      }
    }
}

// In f32 some passes of large batches are left to algorithms that reorder whole tensors.
TEST_P(ConvolutionPlans, LargeBatchesHaveSome) {
  for (const Case& c : cases(64))
    EXPECT_FALSE(convolution_plans({c.problem, c.pass, GetParam(), c.fused, c.fused}, h100(), limit).empty())
        << c.name << " " << name_of(c.pass, c.fused);
}

TEST_P(ConvolutionPlans, AreTheSameEachTime) {
  for (const Case& c : cases(1)) {
    const ConvolutionRequest request = {c.problem, c.pass, GetParam(), c.fused, c.fused};
    const auto once = convolution_plans(request, h100(), limit),
               again = convolution_plans(request, h100(), limit);
    ASSERT_EQ(once.size(), again.size());
    for (size_t i = 0; i < once.size(); ++i) EXPECT_EQ(once[i]->name(), again[i]->name());
  }
}

TEST_P(ConvolutionPlans, KeepToTheLimit) {
  for (const Case& c : cases(1))
    for (const auto& plan :
         convolution_plans({c.problem, c.pass, GetParam(), c.fused, c.fused}, h100(), size_t{1} << 20))
      EXPECT_LE(plan->workspace_bytes(), size_t{1} << 20) << c.name << ": " << plan->name();
}

// Devices have answered with statuses of all categories where an engine did not fit.
TEST_P(ConvolutionPlans, WhatCannotBeFinalizedIsNotOffered) {
  const Conv3dProblem folded = Fold(first(1)).folded();
  const ConvolutionRequest request = {folded, ConvolutionPass::forward, GetParam(), true, true};
  const size_t all = convolution_plans(request, h100(), limit).size();
  for (const cudnnStatus_t status :
       {CUDNN_STATUS_EXECUTION_FAILED, CUDNN_STATUS_SUBLIBRARY_LOADING_FAILED, CUDNN_STATUS_BAD_PARAM,
        CUDNN_STATUS_INTERNAL_ERROR, CUDNN_STATUS_NOT_SUPPORTED, static_cast<cudnnStatus_t>(1234)}) {
    SCOPED_TRACE(status);
    plan_status = status;
    spared = 0;
    EXPECT_TRUE(convolution_plans(request, h100(), limit).empty());
    spared = 2;
    const auto others = convolution_plans(request, h100(), limit);
    EXPECT_FALSE(others.empty());
    EXPECT_LE(others.size(), all);
    plan_status.reset();
  }
  EXPECT_EQ(convolution_plans(request, h100(), limit).size(), all);
}

// Channel counts that suit no tensor core, single pixels, padding beside one element, strides that leave an
// end unread: slow engines, but some.
TEST_P(ConvolutionPlans, OddProblemsHaveSome) {
  const Conv3dProblem problems[] = {
      {3, {8, 8, 48}, 1, 4, {1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
      {1, {1, 1, 16}, 1, 1, {1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
      {5, {3, 5, 7}, 3, 5, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}},
      {2, {5, 3, 17}, 7, 3, {3, 3, 5}, {1, 1, 2}, {1, 1, 2}},
      {1, {6, 6, 16}, 16, 1, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}},
      {1, {1, 1, 1}, 1, 1, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}},
      {2, {3, 2, 5}, 7, 9, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}},
      {1, {1, 2, 3}, 2, 3, {3, 3, 7}, {1, 1, 1}, {1, 1, 3}},
      {1, {1, 1, 1}, 3, 2, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}},
      {1, {6, 8, 11}, 2, 3, {3, 3, 3}, {2, 3, 4}, {0, 0, 0}},
      {1, {2, 3, 4}, 5, 2, {2, 3, 4}, {1, 1, 1}, {0, 0, 0}},
  };
  for (const Conv3dProblem& p : problems)
    for (ConvolutionPass pass :
         {ConvolutionPass::forward, ConvolutionPass::backward_data, ConvolutionPass::backward_weights})
      EXPECT_FALSE(convolution_plans({p, pass, GetParam(), false, false}, h100(), limit).empty())
          << name_of(pass, false) << ", channels " << p.in_channels << " -> " << p.out_channels << ", kernel "
          << p.kernel.h << "x" << p.kernel.w << "x" << p.kernel.e << ", energies " << p.in.e;
}

}  // namespace
}  // namespace eelsvae::cuda
#endif
