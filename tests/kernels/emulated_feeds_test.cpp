#include <cuda_runtime.h>

#include "tests/kernels/backend_test.h"
#include "tests/kernels/emulated_seeds.h"

// Feeds and drains keep batches apart in whatever order streams get on. Nothing is freed on the way, which
// would wait for everything.
namespace eelsvae {
namespace {

struct EmulatedFeeds : testing::Test {
  static constexpr int64_t count = 10, batches = 5;
  static constexpr size_t bytes = count * sizeof(float);
  const std::unique_ptr<Backend> backend = make_backend("emulated", "fp32");
  DeviceBytes staging{*backend, backend->staging_bytes(bytes)};
  DeviceArray place{*backend, DType::f32, count};
  std::vector<std::unique_ptr<DeviceArray>> arrays;

  void SetUp() override {
    for (int64_t i = 0; i < batches; ++i)
      arrays.push_back(std::make_unique<DeviceArray>(*backend, DType::f32, Values(count, number(i))));
  }
  static double number(int64_t batch) { return static_cast<double>(batch + 1); }
};

TEST_F(EmulatedFeeds, AFeedKeepsBatchesApart) {
  EXPECT_EQ(seeds_that_fail([&] {
              {
                const std::unique_ptr<Feed> feed = backend->make_feed(bytes, staging.data());
                for (int64_t i = 0; i < batches; ++i) {
                  std::fill_n(static_cast<float*>(feed->slot()), count, static_cast<float>(number(i)));
                  feed->submit(place.data());
                  backend->convert(place, *arrays[static_cast<size_t>(i)]);
                }
              }
              bool right = true;
              for (int64_t i = 0; i < batches; ++i)
                right = right && equal(arrays[static_cast<size_t>(i)]->download(), Values(count, number(i)));
              return right;
            }),
            0);
}

TEST_F(EmulatedFeeds, ADrainKeepsBatchesApart) {
  EXPECT_EQ(seeds_that_fail([&] {
              const std::unique_ptr<Drain> drain = backend->make_drain(bytes, staging.data());
              bool right = true;
              for (int64_t i = 0; i < batches; ++i) {
                backend->convert(*arrays[static_cast<size_t>(i)], place);
                drain->submit(place.data());
                if (i == 0) continue;
                const float* oldest = static_cast<const float*>(drain->wait());
                right =
                    right && std::count(oldest, oldest + count, static_cast<float>(number(i - 1))) == count;
              }
              return right;  // the last batch is not waited for
            }),
            0);
}

}  // namespace
}  // namespace eelsvae
