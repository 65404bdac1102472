#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/fold.h"
#include "kernels/cuda/launch.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

constexpr int threads = 256;

template <typename T>
__global__ void fold_weights_kernel(Fold fold, bool adjoint, const float* weights, T* folded, int64_t count) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const int64_t source = adjoint ? fold.source_of_adjoint(i) : fold.source_of_folded(i);
    folded[i] = T(source < 0 ? 0.0f : weights[source]);
  }
}

template <typename T>
__global__ void unfold_gradient_kernel(Fold fold, const T* folded, float* gradient, int64_t count) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads())
    gradient[i] = static_cast<float>(folded[fold.place_in_folded(i)]);
}

template <typename T>
__global__ void repeat_bias_kernel(const float* bias, int64_t count, T* repeated, int64_t repeated_count) {
  for (int64_t i = grid_thread(); i < repeated_count; i += grid_threads()) repeated[i] = T(bias[i % count]);
}

void fold_weights(cudaStream_t stream, const Fold& fold, bool adjoint, const float* weights, Array folded) {
  expect(folded.count == fold.weight_count(), "fold: wrong weight count");
  with_storage_type(folded.type, [&]<typename T>(T) {
    launch(stream, "fold_weights_kernel", fold_weights_kernel<T>, grid_for(folded.count, threads), threads,
           fold, adjoint, weights, static_cast<T*>(folded.data), folded.count);
  });
}

}  // namespace

void fold_weights(cudaStream_t stream, const Fold& fold, const float* weights, Array folded) {
  fold_weights(stream, fold, false, weights, folded);
}
void fold_adjoint_weights(cudaStream_t stream, const Fold& fold, const float* weights, Array folded) {
  fold_weights(stream, fold, true, weights, folded);
}

void unfold_gradient(cudaStream_t stream, const Fold& fold, ConstArray folded, Array gradient) {
  expect(folded.count == fold.weight_count(), "fold: wrong weight count");
  with_storage_type(folded.type, [&]<typename T>(T) {
    launch(stream, "unfold_gradient_kernel", unfold_gradient_kernel<T>, grid_for(gradient.count, threads),
           threads, fold, static_cast<const T*>(folded.data), gradient.as<float>(), gradient.count);
  });
}

void repeat_bias(cudaStream_t stream, ConstArray bias, Array repeated) {
  with_storage_type(repeated.type, [&]<typename T>(T) {
    launch(stream, "repeat_bias_kernel", repeat_bias_kernel<T>, grid_for(repeated.count, threads), threads,
           bias.as<float>(), bias.count, static_cast<T*>(repeated.data), repeated.count);
  });
}

}  // namespace eelsvae::EELSVAE_GPU
