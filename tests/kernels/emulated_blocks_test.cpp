#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "tests/kernels/backend_test.h"
#include "tests/kernels/emulated_seeds.h"
#include "tests/kernels/emulated_stream.h"

// What the emulated device finds within a block: planted mistakes show, and their mended versions pass.
namespace eelsvae::emulated {
namespace {

constexpr int threads = 96;

// Each round turns a row around by way of shared memory, and adds it up.
template <bool Before, bool After>
__global__ void reversal_kernel(int64_t rounds, const float* rows, float* sums) {
  EELSVAE_SHARED(float[threads], row);
  const unsigned t = threadIdx.x;
  float sum = 0;
  for (int64_t round = 0; round < rounds; ++round) {
    row[t] = rows[round * threads + t];
    if (Before) __syncthreads();
    sum += row[threads - 1 - t];
    if (After) __syncthreads();
  }
  sums[blockIdx.x * threads + t] = sum;
}

// Of a row, of which `written` elements are put into shared memory.
__global__ void sum_kernel(int64_t written, const float* row, float* sums) {
  EELSVAE_SHARED(float[threads], copy);
  const unsigned t = threadIdx.x;
  if (t < written) copy[t] = row[t];
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < threads; ++i) sum += copy[i];
  sums[blockIdx.x * threads + t] = sum;
}

// Each block adds to what the one before has left.
__global__ void chained_kernel(int64_t, const float* row, float* sums) {
  const unsigned t = threadIdx.x, here = blockIdx.x * threads + t;
  sums[here] = row[t] + (blockIdx.x == 0 ? 0 : sums[here - threads]);
}

class EmulatedBlocks : public testing::Test {
 protected:
  static constexpr int64_t rounds = 3, blocks = 4;
  const std::unique_ptr<Backend> backend = make_backend("emulated", "fp32");
  const Values rows = random_integers(rounds * threads, 9, 1);

  // Whether the kernel's result is `expected`.
  bool computes(void (*kernel)(int64_t, const float*, float*), int64_t argument, const Values& expected) {
    const DeviceArray in(*backend, DType::f32, rows), out(*backend, DType::f32, blocks * threads);
    launch(stream_of(*backend), "kernel", kernel, blocks, threads, argument,
           static_cast<const float*>(in.data()), static_cast<float*>(out.data()));
    return equal(out.download(), expected);
  }
  bool turns_around(void (*kernel)(int64_t, const float*, float*), int64_t count) {
    Values expected(blocks * threads, 0.0);
    for (size_t i = 0; i < expected.size(); ++i)
      for (size_t round = 0; round < static_cast<size_t>(count); ++round)
        expected[i] += rows[round * threads + threads - 1 - i % threads];
    return computes(kernel, count, expected);
  }
};

TEST_F(EmulatedBlocks, AMissingBarrierShows) {
  EXPECT_EQ(seeds_that_fail([&] { return turns_around(reversal_kernel<true, true>, rounds); }), 0);
  EXPECT_EQ(seeds_that_fail([&] { return turns_around(reversal_kernel<true, false>, 1); }), 0);
  EXPECT_EQ(seeds_that_fail([&] { return turns_around(reversal_kernel<false, true>, 1); }), most_seeds);
  EXPECT_EQ(seeds_that_fail([&] { return turns_around(reversal_kernel<true, false>, rounds); }), most_seeds);
}

TEST_F(EmulatedBlocks, SharedMemoryThatIsReadBeforeItIsWrittenShows) {
  const Values expected(blocks * threads,
                        dot(Values(rows.begin(), rows.begin() + threads), Values(threads, 1)));
  EXPECT_EQ(seeds_that_fail([&] { return computes(sum_kernel, threads, expected); }), 0);
  // The block before has written it, and so has the launch before.
  EXPECT_EQ(seeds_that_fail([&] { return computes(sum_kernel, threads - 1, expected); }), most_seeds);
}

TEST_F(EmulatedBlocks, ABlockThatNeedsAnotherShows) {
  Values expected(blocks * threads, 0.0);
  for (size_t i = 0; i < expected.size(); ++i)
    expected[i] = rows[i % threads] * static_cast<double>(i / threads + 1);
  EXPECT_GT(seeds_that_fail([&] { return computes(chained_kernel, 0, expected); }), most_seeds / 2);
}

TEST_F(EmulatedBlocks, ABarrierThatNotAllThreadsReachEndsTheProgram) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const auto kernel = +[](float* out) {
    if (threadIdx.x == 0) __shfl_xor_sync(whole_warp, 1, 1);
    __syncthreads();
    out[threadIdx.x] = 1;
  };
  EXPECT_DEATH(
      {
        const DeviceArray out(*backend, DType::f32, threads);
        launch(stream_of(*backend), "kernel", kernel, 1, threads, static_cast<float*>(out.data()));
        backend->synchronize();
      },
      "a barrier in block 0 is not reached by all of its threads .EELSVAE_EMULATED_SEED=");
}

TEST_F(EmulatedBlocks, KernelsAreGivenMemoryOfTheDevice) {
  std::vector<float> host(threads);
  const DeviceArray in(*backend, DType::f32, rows);
  EXPECT_THROW(launch(stream_of(*backend), "kernel", sum_kernel, 1, threads, int64_t{threads},
                      static_cast<const float*>(in.data()), host.data()),
               std::runtime_error);
}

}  // namespace
}  // namespace eelsvae::emulated
