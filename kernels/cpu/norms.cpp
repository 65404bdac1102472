#include "kernels/norms.h"

#include <array>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/loops.h"

namespace eelsvae {
namespace {

constexpr int64_t gram_pieces = 64;

// Sums of squares and products run in float over short stretches and in double over the stretches.
constexpr int64_t stretch = 512;

template <typename T>
double dot(const T* a, const T* b, int64_t count) {
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += stretch) {
    int64_t end = std::min(count, begin + stretch);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = begin; i < end; ++i) sum += static_cast<float>(a[i]) * static_cast<float>(b[i]);
    total += sum;
  }
  return total;
}

// gram[a, b] = dot(row a, row b) of values (batch, length); pieces: scratch of gram_pieces * batch^2.
template <typename T>
void gram_matrix(int64_t batch, int64_t length, const T* values, double* gram, double* pieces) {
  int64_t piece = (length + gram_pieces - 1) / gram_pieces;
  std::fill_n(pieces, gram_pieces * batch * batch, 0.0);
  cpu::for_pieces(length, piece, [&](int64_t begin, int64_t end, int64_t index) {
    double* mine = pieces + index * batch * batch;
    for (int64_t a = 0; a < batch; ++a)
      for (int64_t b = 0; b <= a; ++b)
        mine[a * batch + b] = dot(values + a * length + begin, values + b * length + begin, end - begin);
  });
  for (int64_t a = 0; a < batch; ++a)
    for (int64_t b = 0; b <= a; ++b) {
      double sum = 0;
      for (int64_t p = 0; p < gram_pieces; ++p) sum += pieces[(p * batch + a) * batch + b];
      gram[a * batch + b] = gram[b * batch + a] = sum;
    }
}

}  // namespace

void CpuBackend::squared_norm(ConstArray values, Array result) {
  const float* v = values.as<float>();
  constexpr int64_t most_pieces = 1024;
  const int64_t piece = std::max<int64_t>(1 << 16, (values.count + most_pieces - 1) / most_pieces);
  std::array<double, most_pieces> sums{};
  cpu::for_pieces(values.count, piece, [&](int64_t begin, int64_t end, int64_t index) {
    sums[static_cast<size_t>(index)] = dot(v + begin, v + begin, end - begin);
  });
  double total = 0;
  for (double sum : sums) total += sum;
  *result.as<double>() = total;
}

size_t CpuBackend::outer_product_workspace_bytes(int64_t batch) const {
  return static_cast<size_t>((gram_pieces + 2) * batch * batch) * sizeof(double);
}

void CpuBackend::squared_norm_outer_product(int64_t batch, int64_t in, int64_t out, ConstArray x,
                                            ConstArray d, Array result, void* workspace) {
  expect(x.count == batch * in && d.count == batch * out, "squared_norm_outer_product: wrong factors");
  double* gram_x = static_cast<double*>(workspace);
  double* gram_d = gram_x + batch * batch;
  double* pieces = gram_d + batch * batch;
  cpu::with_storage_type(arithmetic_.activation, [&]<typename T>(T) {
    gram_matrix(batch, in, x.as<T>(), gram_x, pieces);
    gram_matrix(batch, out, d.as<T>(), gram_d, pieces);
  });
  double sum = 0;
  for (int64_t i = 0; i < batch * batch; ++i) sum += gram_x[i] * gram_d[i];
  // Where the rows' contributions cancel, rounding can leave a little less than nothing.
  *result.as<double>() = std::max(0.0, sum);
}

void CpuBackend::clip(ConstArray squares, double limit, Array norm, StepScalars* scalars) {
  const double* s = squares.as<double>();
  double sum = 0;
  for (int64_t i = 0; i < squares.count; ++i) sum += s[i];
  double n = std::sqrt(sum);
  *norm.as<double>() = n;
  scalars->gradient_scale = clip_factor(n, limit);
}

}  // namespace eelsvae
