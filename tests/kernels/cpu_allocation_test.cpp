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

class CpuAllocationTest : public testing::TestWithParam<BackendChoice> {
 protected:
  void SetUp() override {
    try {
      backend_ = make_backend(GetParam().device, GetParam().precision, GetParam().kernels);
    } catch (const UserError& error) {
      GTEST_SKIP() << error.what();
    }
  }

  std::unique_ptr<Backend> backend_;
};

std::vector<BackendChoice> cpu_choices() {
  std::vector<BackendChoice> choices = backend_choices();
  std::erase_if(choices, [](const BackendChoice& choice) { return choice.device != "cpu"; });
  return choices;
}
INSTANTIATE_TEST_SUITE_P(Kernels, CpuAllocationTest, testing::ValuesIn(cpu_choices()), choice_name);

TEST_P(CpuAllocationTest, OperationsOfAStepTakeNoMemoryOfTheirOwn) {
  EXPECT_GT(allocations_of([] { delete ::new int; }) + allocations_of([] { std::string(100, ' '); }), 0);

  const DType activation = backend_->storage_type();
  for (const Conv3dProblem& p : {Conv3dProblem{1, {4, 4, 64}, 1, 32, {1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
                                 Conv3dProblem{1, {4, 4, 64}, 32, 64, {3, 3, 5}, {1, 1, 2}, {1, 1, 2}}}) {
    const auto conv = backend_->make_conv3d(p, /*transposed=*/false, true, Passes::training);
    DeviceArray x(*backend_, activation, random_normal(p.x_count(), 1, 1)),
        y(*backend_, activation, random_normal(p.y_count(), 1, 2)),
        w(*backend_, DType::f32, random_normal(p.weight_count(), 1, 3)),
        bias(*backend_, DType::f32, random_normal(p.out_channels, 1, 4));
    DeviceBytes packed(*backend_, conv->packed_bytes()), workspace(*backend_, conv->workspace_bytes());
    conv->pack(w, packed.data(), workspace.data());
    EXPECT_EQ(allocations_of([&] { conv->backward_weights(x, y, w, workspace.data()); }), 0) << "weights";
    const int64_t rows = p.y_count() / p.out_channels;
    EXPECT_EQ(allocations_of([&] { backend_->bias_relu(rows, p.out_channels, bias, true, y); }), 0) << "bias";
    EXPECT_EQ(allocations_of([&] { backend_->bias_relu_backward(rows, p.out_channels, y, true, y, bias); }),
              0)
        << "bias gradient";
  }

  const int64_t tiles = 3, pixels = 16, energy = 64, count = tiles * pixels * energy;
  DeviceArray logits(*backend_, activation, random_normal(count, 1, 5)),
      targets(*backend_, DType::f32, Values(static_cast<size_t>(count), 1.0)),
      loss(*backend_, DType::f64, tiles), norm(*backend_, DType::f64, 1);
  StepScalars scalars{};
  for (ReconstructionLoss kind :
       {ReconstructionLoss::cross_entropy, ReconstructionLoss::mse, ReconstructionLoss::poisson})
    EXPECT_EQ(allocations_of([&] {
                backend_->reconstruction_loss(kind, tiles, pixels, energy, logits, targets, &scalars, loss,
                                              logits);
              }),
              0)
        << "loss";
  EXPECT_EQ(allocations_of([&] { backend_->squared_norm(targets, norm); }), 0) << "norm";
}

TEST_P(CpuAllocationTest, ConvolutionsTakeNoMemoryOfTheirOwn) {
  const DType activation = backend_->storage_type();
  for (const Conv3dProblem& p : {Conv3dProblem{2, {4, 4, 64}, 1, 32, {1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
                                 Conv3dProblem{2, {4, 4, 64}, 32, 64, {3, 3, 5}, {1, 1, 2}, {1, 1, 2}},
                                 Conv3dProblem{2, {4, 4, 32}, 64, 32, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}}}) {
    for (const bool transposed : {false, true}) {
      const auto conv = backend_->make_conv3d(p, transposed, true, Passes::training);
      DeviceArray x(*backend_, activation, random_normal(p.x_count(), 1, 1)),
          y(*backend_, activation, random_normal(p.y_count(), 1, 2)),
          w(*backend_, DType::f32, random_normal(p.weight_count(), 1, 3)),
          bias(*backend_, DType::f32, random_normal(transposed ? p.in_channels : p.out_channels, 1, 4));
      const DeviceArray &source = transposed ? y : x, &destination = transposed ? x : y;
      DeviceBytes packed(*backend_, conv->packed_bytes()), workspace(*backend_, conv->workspace_bytes());
      EXPECT_EQ(allocations_of([&] {
                  conv->pack(w, packed.data(), workspace.data());
                  conv->forward(source, packed.data(), bias, destination, workspace.data());
                  conv->backward_data(destination, packed.data(), source, workspace.data());
                  conv->backward_weights(source, destination, w, workspace.data());
                }),
                0)
          << p.in_channels << " to " << p.out_channels << " channels" << (transposed ? ", transposed" : "");
    }
  }
}

// Few rows and many, short and long axes; in bf16 many rows go by tiles where the processor has them.
TEST_P(CpuAllocationTest, LinearLayersTakeNoMemoryOfTheirOwn) {
  const DType activation = backend_->storage_type();
  for (const LinearProblem& p :
       {LinearProblem{1, 64, 96}, LinearProblem{1, 65536, 64}, LinearProblem{20, 64, 96},
        LinearProblem{20, 65536, 64}, LinearProblem{20, 64, 65536}}) {
    const auto linear = backend_->make_linear(p, Passes::training);
    DeviceArray x(*backend_, activation, random_normal(p.batch * p.in, 1, 1)),
        y(*backend_, activation, random_normal(p.batch * p.out, 1, 2)),
        w(*backend_, activation, random_normal(p.in * p.out, 1, 3)),
        bias(*backend_, DType::f32, random_normal(p.out, 1, 4));
    DeviceBytes workspace(*backend_, linear->workspace_bytes());
    EXPECT_EQ(allocations_of([&] {
                linear->forward(x, w, bias, true, y, workspace.data());
                linear->backward_data(y, w, x, workspace.data());
              }),
              0)
        << p.batch << " rows, " << p.in << " to " << p.out;
  }
}

}  // namespace
}  // namespace eelsvae
