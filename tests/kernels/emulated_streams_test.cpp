#include "kernels/cuda/runtime.h"
#include "tests/kernels/backend_test.h"
#include "tests/kernels/emulated_seeds.h"
#include "tests/kernels/emulated_stream.h"

// What the emulated device finds between streams and the host: planted mistakes show, and their mended
// versions pass.
namespace eelsvae::emulated {
namespace {

constexpr size_t count = 100, bytes = count;

struct Pinned {
  Pinned() { check(cudaMallocHost(&data, bytes), "cudaMallocHost"); }
  ~Pinned() { cudaFreeHost(data); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  void fill(int value) { std::memset(data, value, bytes); }
  bool holds(int value) const {
    const auto* first = static_cast<const unsigned char*>(data);
    return std::count(first, first + bytes, value) == static_cast<std::ptrdiff_t>(bytes);
  }
  void* data = nullptr;
};

class EmulatedStreams : public testing::Test {
 protected:
  Stream first{0}, second{0};
  DeviceMemoryBlock a{bytes}, b{bytes};
  Pinned host, other;

  static void set(const DeviceMemoryBlock& memory, int value, cudaStream_t stream) {
    check(cudaMemsetAsync(memory.data(), value, bytes, stream), "cudaMemsetAsync");
  }
  static void copy(const DeviceMemoryBlock& from, const DeviceMemoryBlock& to, cudaStream_t stream) {
    check(cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice, stream),
          "cudaMemcpyAsync");
  }
  static void upload(const void* from, const DeviceMemoryBlock& to, cudaStream_t stream) {
    check(cudaMemcpyAsync(to.data(), from, bytes, cudaMemcpyHostToDevice, stream), "cudaMemcpyAsync");
  }
  static void download(const DeviceMemoryBlock& from, void* to, cudaStream_t stream) {
    check(cudaMemcpyAsync(to, from.data(), bytes, cudaMemcpyDeviceToHost, stream), "cudaMemcpyAsync");
  }
  bool both_hold(int value) {
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    download(a, host.data, first);
    download(b, other.data, first);
    first.synchronize();
    return host.holds(value) && other.holds(value);
  }
};

TEST_F(EmulatedStreams, AMissingEventShows) {
  const auto hand_over = [&](bool with_event) {
    set(a, 1, first);
    copy(a, b, first);
    set(a, 2, first);
    const Event ready;
    ready.record(first);
    if (with_event) ready.hold_back(second);
    copy(a, b, second);
    return both_hold(2);
  };
  EXPECT_EQ(seeds_that_fail([&] { return hand_over(true); }), 0);
  EXPECT_GT(seeds_that_fail([&] { return hand_over(false); }), most_seeds / 8);
}

// What is read must not be written again too early, either.
TEST_F(EmulatedStreams, AMissingEventBeforeTheNextWriteShows) {
  const auto write_again = [&](bool with_event) {
    set(a, 1, first);
    first.synchronize();
    copy(a, b, first);
    const Event taken;
    taken.record(first);
    if (with_event) taken.hold_back(second);
    set(a, 2, second);
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    copy(b, a, first);
    return both_hold(1);
  };
  EXPECT_EQ(seeds_that_fail([&] { return write_again(true); }), 0);
  EXPECT_GT(seeds_that_fail([&] { return write_again(false); }), most_seeds / 8);
}

// A stream waits for an event as it was recorded last before the wait was queued.
TEST_F(EmulatedStreams, AnEventIsTheOneRecordedBeforeTheWait) {
  const auto hand_over = [&](bool recorded_in_time) {
    set(a, 0, first);
    first.synchronize();
    const Event ready;
    if (!recorded_in_time) ready.hold_back(second);
    set(a, 3, first);
    ready.record(first);
    if (recorded_in_time) ready.hold_back(second);
    copy(a, b, second);
    return both_hold(3);
  };
  EXPECT_EQ(seeds_that_fail([&] { return hand_over(true); }), 0);
  EXPECT_GT(seeds_that_fail([&] { return hand_over(false); }), most_seeds / 8);
}

TEST_F(EmulatedStreams, TheHostThatDoesNotWaitShows) {
  const auto fetch = [&](bool waits) {
    host.fill(0);
    set(a, 4, first);
    download(a, host.data, first);
    const Event there;
    there.record(first);
    if (waits) there.synchronize();
    const bool right = host.holds(4);
    first.synchronize();
    return right;
  };
  EXPECT_EQ(seeds_that_fail([&] { return fetch(true); }), 0);
  EXPECT_GT(seeds_that_fail([&] { return fetch(false); }), most_seeds / 8);
}

TEST_F(EmulatedStreams, PageLockedMemoryThatIsFilledAgainTooEarlyShows) {
  const auto send = [&](bool waits) {
    host.fill(5);
    upload(host.data, a, first);
    if (waits) first.synchronize();
    host.fill(6);
    copy(a, b, first);
    return both_hold(5);
  };
  EXPECT_EQ(seeds_that_fail([&] { return send(true); }), 0);
  EXPECT_GT(seeds_that_fail([&] { return send(false); }), most_seeds / 8);
}

// CUDA takes pageable memory before the call returns, and has filled it by then.
TEST_F(EmulatedStreams, PageableMemoryIsDoneWithWhenTheCallReturns) {
  const auto round_trip = [&] {
    std::vector<unsigned char> in(count, 7), out(count);
    upload(in.data(), a, first);
    std::fill(in.begin(), in.end(), static_cast<unsigned char>(8));
    download(a, out.data(), first);
    return out == std::vector<unsigned char>(count, 7);
  };
  EXPECT_EQ(seeds_that_fail(round_trip), 0);
}

TEST_F(EmulatedStreams, FreeingMemoryWaitsForWhatUsesIt) {
  const auto free_early = [&] {
    const DeviceMemoryBlock scratch(bytes);
    set(scratch, 9, second);
    copy(scratch, a, second);
    copy(scratch, b, second);
    return true;
  };
  EXPECT_EQ(seeds_that_fail([&] { return free_early() && both_hold(9); }), 0);
}

TEST_F(EmulatedStreams, FreeingPageLockedMemoryDoesNotWait) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const auto free_early = [&] {
    for (unsigned seed = 1; seed <= most_seeds; ++seed) {
      emulated_device::set_seed(seed);
      const Pinned source;
      upload(source.data, a, first);
    }
  };
  EXPECT_DEATH(free_early(), "page-locked memory is freed while work that uses it is queued");
}

TEST_F(EmulatedStreams, EventsTellWhatHasPassed) {
  const auto ask = [&](bool waits) {
    const Event start, end;
    start.record(first);
    set(a, 1, first);
    end.record(first);
    if (waits)
      while (cudaEventQuery(end) == cudaErrorNotReady) {
      }
    float milliseconds = -1;
    return cudaEventElapsedTime(&milliseconds, start, end) == cudaSuccess && milliseconds >= 0;
  };
  EXPECT_EQ(seeds_that_fail([&] { return ask(true); }), 0);
  EXPECT_GT(seeds_that_fail([&] { return ask(false); }), most_seeds / 8);
}

class EmulatedGraphs : public EmulatedStreams {
 protected:
  // Captures what operations() queues on `first`; null if the capture is lost, for the reason `status`.
  template <typename F>
  cudaGraphExec_t capture(F operations) {
    check(cudaStreamBeginCapture(first, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    operations();
    cudaGraph_t graph = nullptr;
    status = cudaStreamEndCapture(first, &graph);
    if (status != cudaSuccess) return nullptr;
    cudaGraphExec_t executable = nullptr;
    check(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
    cudaGraphDestroy(graph);
    return executable;
  }
  cudaError_t status = cudaSuccess;
  const Event fork, join;
};

// Two branches that meet again.
TEST_F(EmulatedGraphs, BranchesRunInAnyOrderThatEventsAllow) {
  const auto branch = [&](bool one_writer) {
    const cudaGraphExec_t graph = capture([&] {
      set(a, 1, first);
      fork.record(first);
      fork.hold_back(second);
      copy(a, b, second);
      join.record(second);
      if (!one_writer) set(a, 2, first);  // while the other branch reads it
      join.hold_back(first);
      if (one_writer) set(a, 2, first);
    });
    check(status, "capture");
    check(cudaGraphLaunch(graph, first), "cudaGraphLaunch");
    cudaGraphExecDestroy(graph);  // what was launched goes on
    copy(b, a, first);
    return both_hold(1);
  };
  EXPECT_EQ(seeds_that_fail([&] { return branch(true); }), 0);
  EXPECT_GT(seeds_that_fail([&] { return branch(false); }), most_seeds / 8);
}

TEST_F(EmulatedGraphs, LaunchesOfOneGraphDoNotOverlap) {
  const cudaGraphExec_t graph = capture([&] {
    copy(a, b, first);
    set(a, 2, first);
    copy(b, a, first);
  });
  const auto launch_twice = [&] {
    set(a, 1, first);
    first.synchronize();
    check(cudaGraphLaunch(graph, first), "cudaGraphLaunch");
    check(cudaGraphLaunch(graph, second), "cudaGraphLaunch");
    return both_hold(1);
  };
  EXPECT_EQ(seeds_that_fail(launch_twice), 0);
  cudaGraphExecDestroy(graph);
}

TEST_F(EmulatedGraphs, CapturesAreLostAsOnADevice) {
  capture([&] { EXPECT_NE(cudaStreamSynchronize(first), cudaSuccess); });
  EXPECT_EQ(status, cudaErrorStreamCaptureInvalidated);
  capture([&] { EXPECT_THROW(allocate_device(1), std::runtime_error); });
  EXPECT_EQ(status, cudaErrorStreamCaptureInvalidated);
  std::vector<char> pageable(bytes);
  capture([&] { EXPECT_THROW(upload(pageable.data(), a, first), std::runtime_error); });
  EXPECT_EQ(status, cudaErrorStreamCaptureInvalidated);
  const Event outside;
  outside.record(second);
  capture([&] { EXPECT_THROW(outside.hold_back(first), std::runtime_error); });
  EXPECT_EQ(status, cudaErrorStreamCaptureInvalidated);
  capture([&] {
    fork.record(first);
    fork.hold_back(second);
    set(a, 1, second);
  });
  EXPECT_EQ(status, cudaErrorStreamCaptureUnjoined);
  EXPECT_NO_THROW(set(a, 1, second));  // no longer part of a capture
}

TEST_F(EmulatedGraphs, MemoryMustOutliveAGraph) {
  cudaGraphExec_t graph = nullptr;
  {
    const DeviceMemoryBlock scratch(bytes);
    graph = capture([&] { set(scratch, 1, first); });
    check(status, "capture");
  }
  EXPECT_EQ(cudaGraphLaunch(graph, first), cudaErrorIllegalAddress);
  cudaGraphExecDestroy(graph);
}

TEST_F(EmulatedStreams, MemoryHoldsNothingAndIsAlignedAsPromised) {
  for (size_t size : {size_t{1}, size_t{4096}, size_t{3} << 20}) {
    void* memory = nullptr;
    check(cudaMalloc(&memory, size), "cudaMalloc");
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 512, 256u);
    std::vector<unsigned char> values(size);
    check(cudaMemcpyAsync(values.data(), memory, size, cudaMemcpyDeviceToHost, first), "cudaMemcpyAsync");
    EXPECT_EQ(std::count(values.begin(), values.end(), 0xff), static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(cudaMemsetAsync(memory, 0, size + 1, first), cudaErrorInvalidValue);
    cudaFree(memory);
  }
}

}  // namespace
}  // namespace eelsvae::emulated
