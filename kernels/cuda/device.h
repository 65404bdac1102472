#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/array.h"
#include "kernels/cuda/namespace.h"

// What the kernels of this folder are written with. Shared memory is static everywhere (up to 48 KB a block).
namespace eelsvae::EELSVAE_GPU {

// An array, such as EELSVAE_SHARED(float[32][33], tile), that the threads of a block share; its values are
// undefined at first.
#ifdef EELSVAE_EMULATED
#define EELSVAE_SHARED(type, name)                                \
  static thread_local emulated_device::Shared<type> name##_store; \
  auto& name = name##_store.of_block()
#else
#define EELSVAE_SHARED(type, name) alignas(16) __shared__ std::type_identity_t<type> name
#endif

constexpr int warp_size = 32;
constexpr unsigned whole_warp = 0xffffffffu;

// Place of this thread in the grid and the number of threads in it, for loops in strides of the grid.
__device__ inline int64_t grid_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline int64_t grid_threads() {
  return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

// N neighbouring elements, read and written in one access; the address is a multiple of sizeof(Pack).
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T v[N];
};
template <int N, typename T>
__device__ inline Pack<T, N> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}
template <int N, typename T>
__device__ inline void store_pack(const Pack<T, N>& pack, T* to) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}
// Elements of T in 16 bytes, the widest access of a thread.
template <typename T>
constexpr int widest = static_cast<int>(16 / sizeof(T));

// Elements that each of the types takes in one access of at most 16 bytes.
template <typename... T>
constexpr int common_width = static_cast<int>(16 / std::max({sizeof(T)...}));

// Whether arrays can be read in packs of N: every address (none, if null) is a multiple of the pack's size.
template <int N, typename... T>
bool packs_fit(const T*... arrays) {
  return ((reinterpret_cast<uintptr_t>(arrays) % (N * sizeof(T)) == 0) && ...);
}

template <int N, typename T>
__device__ inline Pack<float, N> to_float(const Pack<T, N>& pack) {
  Pack<float, N> result;
#pragma unroll
  for (int i = 0; i < N; ++i) result.v[i] = static_cast<float>(pack.v[i]);
  return result;
}
template <typename T, int N>
__device__ inline Pack<T, N> from_float(const Pack<float, N>& pack) {
  Pack<T, N> result;
#pragma unroll
  for (int i = 0; i < N; ++i) result.v[i] = static_cast<T>(pack.v[i]);
  return result;
}

// Sum over the warp, the same in every lane; the order is fixed.
template <typename T>
__device__ inline T warp_sum(T value) {
  for (int distance = warp_size / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(whole_warp, value, distance);
  return value;
}
template <typename T>
__device__ inline T warp_max(T value) {
  for (int distance = warp_size / 2; distance > 0; distance /= 2) {
    T other = __shfl_xor_sync(whole_warp, value, distance);
    value = other > value ? other : value;
  }
  return value;
}

// Sum over a block of Threads threads (a multiple of 32), the same in every thread; every thread calls it.
template <int Threads, typename T>
__device__ inline T block_sum(T value) {
  static_assert(Threads % warp_size == 0);
  constexpr int warps = Threads / warp_size;
  EELSVAE_SHARED(T[warps], partial);
  value = warp_sum(value);
  __syncthreads();  // an earlier sum may still be read
  if (threadIdx.x % warp_size == 0) partial[threadIdx.x / warp_size] = value;
  __syncthreads();
  T sum = 0;
  for (int w = 0; w < warps; ++w) sum += partial[w];
  return sum;
}
template <int Threads, typename T>
__device__ inline T block_max(T value) {
  static_assert(Threads % warp_size == 0);
  constexpr int warps = Threads / warp_size;
  EELSVAE_SHARED(T[warps], partial);
  value = warp_max(value);
  __syncthreads();
  if (threadIdx.x % warp_size == 0) partial[threadIdx.x / warp_size] = value;
  __syncthreads();
  T largest = partial[0];
  for (int w = 1; w < warps; ++w) largest = partial[w] > largest ? partial[w] : largest;
  return largest;
}

}  // namespace eelsvae::EELSVAE_GPU
