#pragma once

// As much of the CUDA runtime and of its language as the sources of kernels/cuda use, carried out on the CPU.
// The kernels themselves run: every thread of a block is a fiber, blocks are spread over the processor's
// cores. A barrier that not all threads reach ends the program with a message. Threads of a block take their
// turns in an order that changes from launch to launch, so that a missing barrier does not go unnoticed.
//
// Streams are queues. Work leaves them while the host queues more or waits, in an order that is random but
// for what CUDA promises: the order within a stream and what events hold back. Graphs are replayed likewise.
// What lacks an event therefore meets values that are too old or too new, sooner or later. The random numbers
// depend on the environment's EELSVAE_EMULATED_SEED (1 if there is none) alone.
//
// Memory is the host's, so that its checkers see what kernels read and write. It is filled with NaN when it
// is handed out, at multiples of 256 bytes and never of 512. Operations may be handed memory of their device
// and page-locked memory only.
//
// It is slow and has no notion of a device's speed; it is there to show that kernels compute what they
// should.

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint3 {
  unsigned x, y, z;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
// ---- the language ----

// Of the thread that is running.
extern constinit thread_local uint3 threadIdx, blockIdx;
extern constinit thread_local dim3 blockDim, gridDim;

namespace eelsvae::emulated_device {

// Tells a block from those that ran before on this thread of the host.
uint64_t block_number();

// Shared memory of a block: one block at a time runs on a thread of the host, and its fibers stay on that
// thread. It is filled with NaN before the first thread gets it, so that what a block reads without having
// written it shows.
template <typename T>
struct Shared {
  T& of_block() {
    if (block != block_number()) {
      block = block_number();
      std::memset(&data, 0xff, sizeof data);
    }
    return data;
  }
  alignas(16) T data;
  uint64_t block;
};

void block_barrier();
// All threads of the warp that `mask` names meet.
void warp_barrier(unsigned mask);
// Eight bytes for each lane of the running thread's warp, to exchange values through; others after each
// barrier.
uint64_t* warp_slots();

template <typename T>
T exchange(unsigned mask, T value, unsigned source) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t* slots = warp_slots();
  std::memcpy(&slots[threadIdx.x % 32], &value, sizeof value);
  warp_barrier(mask);
  T received;
  std::memcpy(&received, &slots[source], sizeof received);
  return received;
}

// The values of all lanes of a warp.
template <typename T>
std::array<T, 32> gather(T value) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t* slots = warp_slots();
  std::memcpy(&slots[threadIdx.x % 32], &value, sizeof value);
  warp_barrier(0xffffffffu);
  std::array<T, 32> received;
  for (size_t lane = 0; lane < 32; ++lane) std::memcpy(&received[lane], &slots[lane], sizeof(T));
  return received;
}

// Runs body() as every thread of the grid.
void run_grid(dim3 grid, dim3 block, const std::function<void()>& body);

}  // namespace eelsvae::emulated_device

inline void __syncthreads() {
  eelsvae::emulated_device::block_barrier();
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return eelsvae::emulated_device::exchange(mask, value, (threadIdx.x % 32) ^ static_cast<unsigned>(bits));
}
template <typename T>
T __ldcs(const T* from) {
  return *from;
}
template <typename T>
void __stcs(T* to, T value) {
  *to = value;
}
// ---- the runtime ----

#define CUDART_VERSION 0

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
  cudaErrorStreamCaptureUnmatched = 903,
  cudaErrorStreamCaptureUnjoined = 904,
  cudaErrorStreamCaptureIsolation = 905,
  cudaErrorCapturedEvent = 907,
  cudaErrorStreamCaptureWrongThread = 908
};
const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();

struct cudaDeviceProp {
  char name[256];
  int major, minor;
  size_t totalGlobalMem;
  int l2CacheSize;
};
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaMemGetInfo(size_t* available, size_t* total);
cudaError_t cudaDeviceSynchronize();

struct CUstream_st;
struct CUevent_st;
struct CUgraph_st;
struct CUgraphExec_st;
using cudaStream_t = CUstream_st*;
using cudaEvent_t = CUevent_st*;
using cudaGraph_t = CUgraph_st*;
using cudaGraphExec_t = CUgraphExec_st*;

constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDefault = 0;
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end);

enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal };
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long flags = 0);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);

enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
cudaError_t cudaMalloc(void** memory, size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaMallocHost(void** memory, size_t bytes);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaMemset(void* memory, int value, size_t bytes);
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream);

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  cudaStream_t stream = nullptr;
};

namespace eelsvae::emulated_device {

// Queues work on a stream of the current device, or adds it to the stream's capture. cudaErrorIllegalAddress
// if one of the addresses that it uses is not null nor in memory that the device reaches.
cudaError_t enqueue(cudaStream_t stream, std::vector<const void*> addresses, std::function<void()> work);

// Starts another sequence of random numbers.
void set_seed(unsigned seed);

template <typename T>
const void* address_of(const T& parameter) {
  if constexpr (std::is_pointer_v<T>)
    return parameter;
  else
    return nullptr;
}

}  // namespace eelsvae::emulated_device

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const std::tuple<Parameters...> parameters(std::forward<Arguments>(arguments)...);
  return eelsvae::emulated_device::enqueue(
      config->stream,
      std::apply(
          [](const auto&... each) {
            return std::vector<const void*>{eelsvae::emulated_device::address_of(each)...};
          },
          parameters),
      [grid = config->gridDim, block = config->blockDim, kernel, parameters] {
        eelsvae::emulated_device::run_grid(grid, block, [&] { std::apply(kernel, parameters); });
      });
}
