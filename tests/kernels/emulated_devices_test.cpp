#include <thread>

#include "kernels/cuda/runtime.h"
#include "kernels/device_scope.h"
#include "tests/kernels/backend_test.h"
#include "tests/kernels/emulated_stream.h"

// Several devices: each backend keeps to its own, whichever the thread used last.
namespace eelsvae::emulated {
namespace {

TEST(EmulatedDevices, EachHasItsNumber) {
  const auto first = make_backend("emulated", "fp32"), second = make_backend("emulated:1", "fp32");
  EXPECT_EQ(first->device(), "emulated:0");
  EXPECT_EQ(second->device(), "emulated:1");
  try {
    make_backend("emulated:2", "fp32");
    ADD_FAILURE() << "there is a third device";
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(), "device 'emulated:2' cannot be used: there are emulated:0 to emulated:1");
  }
}

TEST(EmulatedDevices, TakeTurns) {
  const auto first = make_backend("emulated:0", "fp32"), second = make_backend("emulated:1", "bf16");
  const Values values = random_integers(100, 9, 1);
  for (int round = 0; round < 2; ++round)
    for (Backend* backend : {first.get(), second.get()}) {
      const DeviceArray in(*backend, DType::f32, values), out(*backend, DType::bf16, 100);
      backend->convert(in, out);
      EXPECT_TRUE(equal(out.download(), values));
    }
}

TEST(EmulatedDevices, WhatBelongsToAnotherIsRefused) {
  const auto first = make_backend("emulated:0", "fp32"), second = make_backend("emulated:1", "fp32");
  const DeviceArray here(*first, DType::f32, Values(10, 1)), there(*second, DType::f32, Values(10, 2));
  EXPECT_THROW(first->convert(there, here), std::runtime_error);
  EXPECT_THROW(first->upload(std::vector<float>(10).data(), there.data(), 40), std::runtime_error);
  const cudaStream_t stream = stream_of(*first);  // its device is current now
  stream_of(*second);
  EXPECT_EQ(emulated_device::enqueue(stream, {}, [] {}), cudaErrorInvalidResourceHandle);
  const Event event;  // of the second device
  EXPECT_THROW(event.record(stream), std::runtime_error);
  event.record(stream_of(*second));
  EXPECT_NO_THROW(event.hold_back(stream));  // waiting for another device is allowed
}

TEST(EmulatedDevices, ArePutBackAtTheEndOfAScope) {
  const auto device = [] {
    int current = -1;
    EXPECT_EQ(cudaGetDevice(&current), cudaSuccess);
    return current;
  };
  const auto work = [](const char* name) {
    const auto backend = make_backend(name, "fp32");
    const DeviceArray in(*backend, DType::f32, Values(10, 1)), out(*backend, DType::f32, 10);
    backend->convert(in, out);
    EXPECT_TRUE(equal(out.download(), Values(10, 1)));
  };
  for (int round = 0; round < 2; ++round)
    for (const int own : {0, 1}) {
      ASSERT_EQ(cudaSetDevice(own), cudaSuccess);
      {
        const DeviceScope scope;
        work("emulated:1");
        EXPECT_EQ(device(), 1);
        {
          const DeviceScope inner;
          work("emulated:0");
        }
        EXPECT_EQ(device(), 0) << "the outer scope goes on";
      }
      EXPECT_EQ(device(), own);
    }
  // Each thread has its own.
  ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
  const DeviceScope scope;
  std::thread([&] { work("emulated:1"); }).join();
  EXPECT_EQ(device(), 0);
}

}  // namespace
}  // namespace eelsvae::emulated
