#include "kernels/latent.h"

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

// A few thousand numbers: one block for each row of the batch.
namespace eelsvae::EELSVAE_GPU {
namespace {

constexpr int threads = 128;

template <typename T>
__global__ void reparameterize_kernel(int64_t latent, const T* head, bool sample, const StepScalars* scalars,
                                      T* z, double* kl) {
  const int64_t row = blockIdx.x;
  const T *mean = head + row * 2 * latent, *log_variance = mean + latent;
  double sum = 0;
  for (int64_t j = threadIdx.x; j < latent; j += threads) {
    const float mu = static_cast<float>(mean[j]), lv = static_cast<float>(log_variance[j]);
    float noise = 0;
    if (sample) noise = static_cast<float>(posterior_noise(scalars->seed, scalars->step, row * latent + j));
    z[row * latent + j] = static_cast<T>(mu + std::exp(0.5f * lv) * noise);
    sum += kl_term(mu, lv);
  }
  sum = block_sum<threads>(sum);
  if (threadIdx.x == 0) kl[row] = sum;
}

template <typename T>
__global__ void reparameterize_backward_kernel(int64_t latent, const T* head, const T* z_gradient,
                                               const StepScalars* scalars, T* head_gradient) {
  const int64_t row = blockIdx.x;
  const float weight = static_cast<float>(scalars->kl_weight);
  for (int64_t j = threadIdx.x; j < latent; j += threads) {
    const int64_t mu = row * 2 * latent + j, lv = mu + latent, at = row * latent + j;
    const float noise = static_cast<float>(posterior_noise(scalars->seed, scalars->step, at));
    const PosteriorGradient<float> gradient =
        posterior_gradient(static_cast<float>(head[mu]), static_cast<float>(head[lv]), noise,
                           static_cast<float>(z_gradient[at]), weight);
    head_gradient[mu] = static_cast<T>(gradient.mu);
    head_gradient[lv] = static_cast<T>(gradient.lv);
  }
}

}  // namespace

void CudaBackend::reparameterize(int64_t batch, int64_t latent, ConstArray head, bool sample,
                                 const StepScalars* scalars, Array z, Array kl) {
  expect(head.count == 2 * batch * latent && z.count == batch * latent && kl.count == batch,
         "reparameterize: wrong sizes");
  with_storage_type(storage_type(), [&]<typename T>(T) {
    launch(stream_, "reparameterize_kernel", reparameterize_kernel<T>, batch, threads, latent, head.as<T>(),
           sample, scalars, z.as<T>(), kl.as<double>());
  });
}

void CudaBackend::reparameterize_backward(int64_t batch, int64_t latent, ConstArray head,
                                          ConstArray z_gradient, const StepScalars* scalars,
                                          Array head_gradient) {
  expect(head.count == 2 * batch * latent && z_gradient.count == batch * latent &&
             head_gradient.count == head.count,
         "reparameterize_backward: wrong sizes");
  with_storage_type(storage_type(), [&]<typename T>(T) {
    launch(stream_, "reparameterize_backward_kernel", reparameterize_backward_kernel<T>, batch, threads,
           latent, head.as<T>(), z_gradient.as<T>(), scalars, head_gradient.as<T>());
  });
}

}  // namespace eelsvae::EELSVAE_GPU
