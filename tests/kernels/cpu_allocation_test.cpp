#include <atomic>
#include <cstdlib>
#include <new>

#include "tests/kernels/backend_test.h"

namespace {
std::atomic<int64_t> allocations = 0;
}

// Every container of this program gets its memory here. (Inlined, the pairs look mismatched to GCC 12.)
[[gnu::noinline]] void* operator new(size_t bytes) {
  ++allocations;
  if (void* memory = std::malloc(bytes ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}

namespace eelsvae {
namespace {

// After the first time, that is: what then grows to its size stays.
template <typename Operation>
int64_t allocations_of(Operation operation) {
  operation();
  const int64_t before = allocations;
  operation();
  return allocations - before;
}

class CpuAllocationTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Precisions, CpuAllocationTest, testing::Values("fp32", "bf16"),
                         [](const auto& precision) { return precision.param; });

TEST_P(CpuAllocationTest, OperationsOfAStepTakeNoMemoryOfTheirOwn) {
  std::unique_ptr<Backend> backend;
  try {
    backend = make_backend("cpu", GetParam());
  } catch (const UserError& error) {
    GTEST_SKIP() << error.what();
  }
  EXPECT_GT(allocations_of([] { delete ::new int; }) + allocations_of([] { std::string(100, ' '); }), 0);

  const DType activation = backend->activation_type();
  for (const Conv3dProblem& p : {Conv3dProblem{1, {4, 4, 64}, 1, 32, {1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
                                 Conv3dProblem{1, {4, 4, 64}, 32, 64, {3, 3, 5}, {1, 1, 2}, {1, 1, 2}}}) {
    const auto conv = backend->make_conv3d(p);
    DeviceArray x(*backend, activation, random_normal(p.x_count(), 1, 1)),
        y(*backend, activation, random_normal(p.y_count(), 1, 2)),
        w(*backend, DType::f32, random_normal(p.weight_count(), 1, 3)),
        bias(*backend, DType::f32, random_normal(p.out_channels, 1, 4));
    DeviceBytes packed(*backend, conv->packed_bytes()), workspace(*backend, conv->workspace_bytes());
    conv->pack(w, packed.data(), workspace.data());
    EXPECT_EQ(allocations_of([&] { conv->backward_weights(x, y, w, workspace.data()); }), 0) << "weights";
    const int64_t rows = p.y_count() / p.out_channels;
    EXPECT_EQ(allocations_of([&] { backend->bias_relu(rows, p.out_channels, bias, true, y); }), 0) << "bias";
    EXPECT_EQ(allocations_of([&] { backend->bias_relu_backward(rows, p.out_channels, y, true, y, bias); }), 0)
        << "bias gradient";
    if (p.in_channels > 1) continue;
    EXPECT_EQ(allocations_of([&] {
                conv->pack(w, packed.data(), workspace.data());
                conv->forward(x, packed.data(), bias, true, y, workspace.data());
                conv->backward_data(y, packed.data(), x, workspace.data());
              }),
              0)
        << "edge convolution";
  }

  const int64_t tiles = 3, pixels = 16, energy = 64, count = tiles * pixels * energy;
  DeviceArray logits(*backend, activation, random_normal(count, 1, 5)),
      targets(*backend, DType::f32, Values(static_cast<size_t>(count), 1.0)),
      loss(*backend, DType::f64, tiles), norm(*backend, DType::f64, 1);
  StepScalars scalars{};
  for (ReconstructionLoss kind : {ReconstructionLoss::cross_entropy, ReconstructionLoss::mse})
    EXPECT_EQ(allocations_of([&] {
                backend->reconstruction_loss(kind, tiles, pixels, energy, logits, targets, &scalars, loss,
                                             logits);
              }),
              0)
        << "loss";
  EXPECT_EQ(allocations_of([&] { backend->squared_norm(targets, norm); }), 0) << "norm";
}

}  // namespace
}  // namespace eelsvae
