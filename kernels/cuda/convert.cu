#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/geometry.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

constexpr int threads = 256, packs_per_thread = 4;

template <int N, typename From, typename To>
__global__ void __launch_bounds__(threads) convert_kernel(int64_t count, const From* from, To* to) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * threads * packs_per_thread + threadIdx.x;
  Pack<From, N> packs[packs_per_thread];
#pragma unroll
  for (int i = 0; i < packs_per_thread; ++i) {
    const int64_t at = (first + i * threads) * N;
    if (at + N <= count) packs[i] = load_pack<N>(from + at);
  }
#pragma unroll
  for (int i = 0; i < packs_per_thread; ++i) {
    const int64_t at = (first + i * threads) * N;
    if (at + N <= count)
      store_pack(from_float<To>(to_float(packs[i])), to + at);
    else
      for (int64_t j = at; j < count; ++j) to[j] = static_cast<To>(static_cast<float>(from[j]));
  }
}

}  // namespace

void CudaBackend::convert(ConstArray source, Array destination) {
  expect(source.count == destination.count, "convert: different sizes");
  if (source.type == destination.type) {
    check(cudaMemcpyAsync(destination.data, source.data, source.bytes(), cudaMemcpyDeviceToDevice, stream_),
          "cudaMemcpyAsync");
    return;
  }
  with_storage_type(source.type, [&]<typename From>(From) {
    with_storage_type(destination.type, [&]<typename To>(To) {
      if constexpr (!std::is_same_v<From, To>) {
        constexpr int width = common_width<From, To>;
        const From* from = source.as<From>();
        To* to = destination.as<To>();
        const bool packs = packs_fit<width>(from, to);
        launch(stream_, "convert_kernel",
               packs ? convert_kernel<width, From, To> : convert_kernel<1, From, To>,
               elementwise_blocks(source.count, threads, packs_per_thread, packs ? width : 1), threads,
               source.count, from, to);
      }
    });
  });
}

}  // namespace eelsvae::EELSVAE_GPU
