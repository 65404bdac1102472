#include "kernels/energy_pooling.h"

#include <cmath>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/loops.h"

namespace eelsvae {

// Channels are innermost, so that all loops over them are vectors; an item of the batch is one thread's.

void CpuBackend::energy_pooling(int64_t batch, int64_t positions, int64_t channels, ConstArray x, Array y) {
  expect(positions > 0 && x.count == batch * positions * channels && y.count == batch * 2 * channels,
         "energy_pooling: wrong sizes");
  cpu::with_storage_type(arithmetic_.activation, [&]<typename T>(T) {
    cpu::for_pieces(batch, 1, [&](int64_t b, int64_t, int64_t) {
      const T* from = x.as<T>() + b * positions * channels;
      T *lse = y.as<T>() + b * 2 * channels, *mean = lse + channels;
      std::vector<float> kept(static_cast<size_t>(3 * channels));
      float *largest = kept.data(), *sum = largest + channels, *total = sum + channels;
      for (int64_t c = 0; c < channels; ++c) largest[c] = static_cast<float>(from[c]);
      for (int64_t p = 0; p < positions; ++p)
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) {
          const float value = static_cast<float>(from[p * channels + c]);
          largest[c] = std::max(largest[c], value);
          total[c] += value;
        }
      for (int64_t p = 0; p < positions; ++p)
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c)
          sum[c] += cpu::vector_exp(static_cast<float>(from[p * channels + c]) - largest[c]);
      for (int64_t c = 0; c < channels; ++c) {
        cpu::store(largest[c] + std::log(sum[c]), lse + c);
        cpu::store(total[c] / static_cast<float>(positions), mean + c);
      }
    });
  });
}

void CpuBackend::energy_pooling_backward(int64_t batch, int64_t positions, int64_t channels, ConstArray x,
                                         ConstArray y, ConstArray y_gradient, Array x_gradient) {
  expect(positions > 0 && x.count == batch * positions * channels && y.count == batch * 2 * channels &&
             y_gradient.count == y.count && x_gradient.count == x.count,
         "energy_pooling_backward: wrong sizes");
  cpu::with_storage_type(arithmetic_.activation, [&]<typename T>(T) {
    const float share = 1 / static_cast<float>(positions);
    cpu::for_pieces(batch, 1, [&](int64_t b, int64_t, int64_t) {
      const T *from = x.as<T>() + b * positions * channels, *lse = y.as<T>() + b * 2 * channels;
      const T *of_lse = y_gradient.as<T>() + b * 2 * channels, *of_mean = of_lse + channels;
      T* to = x_gradient.as<T>() + b * positions * channels;
      for (int64_t p = 0; p < positions; ++p)
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) {
          const float part =
              cpu::vector_exp(static_cast<float>(from[p * channels + c]) - static_cast<float>(lse[c]));
          cpu::store(part * static_cast<float>(of_lse[c]) + static_cast<float>(of_mean[c]) * share,
                     to + p * channels + c);
        }
    });
  });
}

}  // namespace eelsvae
