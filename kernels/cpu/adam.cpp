#include "kernels/adam.h"

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/loops.h"

namespace eelsvae {
namespace {

// The gradient of a piece stays in the first-level cache between being formed and being used.
constexpr int64_t piece = 2048;

template <typename T>
void outer_product_piece(int64_t batch, int64_t in, int64_t out, const T* x, const T* d, int64_t o,
                         int64_t begin, int64_t end, float* gradient) {
  float factor = static_cast<float>(d[o]);
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) gradient[i - begin] = factor * static_cast<float>(x[i]);
  for (int64_t b = 1; b < batch; ++b) {
    const T* row = x + b * in;
    factor = static_cast<float>(d[b * out + o]);
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) gradient[i - begin] += factor * static_cast<float>(row[i]);
  }
}

}  // namespace

void CpuBackend::adam(ConstArray gradient, const StepScalars* scalars, Array w, Array m, Array v) {
  expect(gradient.count == w.count && m.count == w.count && v.count == w.count, "adam: different sizes");
  const AdamStep<float> step(*scalars);
  const float* g = gradient.as<float>();
  float *pw = w.as<float>(), *pm = m.as<float>(), *pv = v.as<float>();
  cpu::for_pieces(w.count, 1 << 15, [&](int64_t begin, int64_t end, int64_t) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) adam_update(pw[i], pm[i], pv[i], g[i], step);
  });
}

void CpuBackend::adam_outer_product(int64_t batch, int64_t in, int64_t out, ConstArray x, ConstArray d,
                                    const StepScalars* scalars, Array w, Array m, Array v, Array shadow) {
  expect(x.count == batch * in && d.count == batch * out, "adam_outer_product: wrong factors");
  expect(w.count == in * out && m.count == w.count && v.count == w.count, "adam_outer_product: wrong state");
  const AdamStep<float> step(*scalars);
  float *pw = w.as<float>(), *pm = m.as<float>(), *pv = v.as<float>();
  cpu::with_storage_type(arithmetic_.activation, [&]<typename T>(T) {
    const T *px = x.as<T>(), *pd = d.as<T>();
    T* ps = shadow ? shadow.as<T>() : nullptr;
    // Threads take rows of w; within its rows a thread goes piece by piece, so that x's piece is reused: by
    // two rows at a time, a long x would be half as many bytes again as w and its moments.
    cpu::for_pieces(out, std::max<int64_t>(1, out / 64), [&](int64_t first, int64_t last, int64_t) {
      alignas(64) float gradient[piece];
      for (int64_t begin = 0; begin < in; begin += piece) {
        int64_t end = std::min(in, begin + piece);
        for (int64_t o = first; o < last; ++o) {
          outer_product_piece(batch, in, out, px, pd, o, begin, end, gradient);
          int64_t row = o * in;
          if (ps) {
#pragma omp simd
            for (int64_t i = begin; i < end; ++i) {
              adam_update(pw[row + i], pm[row + i], pv[row + i], gradient[i - begin], step);
              cpu::store(pw[row + i], ps + row + i);
            }
          } else {
#pragma omp simd
            for (int64_t i = begin; i < end; ++i)
              adam_update(pw[row + i], pm[row + i], pv[row + i], gradient[i - begin], step);
          }
        }
      }
    });
  });
}

}  // namespace eelsvae
