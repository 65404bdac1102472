#include "kernels/cuda/random_fill.h"

#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/philox.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

template <typename T>
__global__ void random_fill_kernel(int64_t count, T* values) {
  for (int64_t i = grid_thread(); i < (count + 3) / 4; i += grid_threads()) {
    const Philox4 words = philox(0, static_cast<uint64_t>(i), 0);
    for (int k = 0; k < 4 && 4 * i + k < count; ++k)
      values[4 * i + k] = static_cast<T>(static_cast<float>(2 * uniform(words.v[k]) - 1));
  }
}

template <typename T>
void fill(cudaStream_t stream, Array array) {
  constexpr int threads = 256;
  launch(stream, "random_fill_kernel", random_fill_kernel<T>, grid_for(array.count, 4 * threads), threads,
         array.count, array.as<T>());
}

}  // namespace

void random_fill(cudaStream_t stream, Array array) {
  if (array.type == DType::bf16)
    fill<bfloat16>(stream, array);
  else
    fill<float>(stream, array);
}

}  // namespace eelsvae::EELSVAE_GPU
