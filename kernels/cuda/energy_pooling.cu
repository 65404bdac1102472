#include "kernels/energy_pooling.h"

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

// A block for each item of the batch, a thread for each of its channels: neighbours read neighbours.
namespace eelsvae::EELSVAE_GPU {
namespace {

constexpr int threads = 64;

template <typename T>
__global__ void energy_pooling_kernel(int64_t positions, int64_t channels, const T* x, T* y) {
  const T* from = x + static_cast<int64_t>(blockIdx.x) * positions * channels;
  T* to = y + static_cast<int64_t>(blockIdx.x) * 2 * channels;
  for (int64_t c = threadIdx.x; c < channels; c += threads) {
    // The sum of exponentials is kept relative to the largest so far.
    float largest = static_cast<float>(from[c]), sum = 0, total = 0;
    for (int64_t p = 0; p < positions; ++p) {
      const float value = static_cast<float>(from[p * channels + c]);
      if (value > largest) {
        sum *= std::exp(largest - value);
        largest = value;
      }
      sum += std::exp(value - largest);
      total += value;
    }
    to[c] = static_cast<T>(largest + std::log(sum));
    to[channels + c] = static_cast<T>(total / static_cast<float>(positions));
  }
}

template <typename T>
__global__ void energy_pooling_backward_kernel(int64_t positions, int64_t channels, const T* x, const T* y,
                                               const T* y_gradient, T* x_gradient) {
  const int64_t item = blockIdx.x, of_y = item * 2 * channels;
  for (int64_t c = threadIdx.x; c < channels; c += threads) {
    const float lse = static_cast<float>(y[of_y + c]), slope = static_cast<float>(y_gradient[of_y + c]),
                share = static_cast<float>(y_gradient[of_y + channels + c]) / static_cast<float>(positions);
    for (int64_t p = 0; p < positions; ++p) {
      const int64_t at = (item * positions + p) * channels + c;
      x_gradient[at] = static_cast<T>(std::exp(static_cast<float>(x[at]) - lse) * slope + share);
    }
  }
}

}  // namespace

void CudaBackend::energy_pooling(int64_t batch, int64_t positions, int64_t channels, ConstArray x, Array y) {
  expect(positions > 0 && x.count == batch * positions * channels && y.count == batch * 2 * channels,
         "energy_pooling: wrong sizes");
  with_storage_type(storage_type(), [&]<typename T>(T) {
    launch(stream_, "energy_pooling_kernel", energy_pooling_kernel<T>, batch, threads, positions, channels,
           x.as<T>(), y.as<T>());
  });
}

void CudaBackend::energy_pooling_backward(int64_t batch, int64_t positions, int64_t channels, ConstArray x,
                                          ConstArray y, ConstArray y_gradient, Array x_gradient) {
  expect(positions > 0 && x.count == batch * positions * channels && y.count == batch * 2 * channels &&
             y_gradient.count == y.count && x_gradient.count == x.count,
         "energy_pooling_backward: wrong sizes");
  with_storage_type(storage_type(), [&]<typename T>(T) {
    launch(stream_, "energy_pooling_backward_kernel", energy_pooling_backward_kernel<T>, batch, threads,
           positions, channels, x.as<T>(), y.as<T>(), y_gradient.as<T>(), x_gradient.as<T>());
  });
}

}  // namespace eelsvae::EELSVAE_GPU
