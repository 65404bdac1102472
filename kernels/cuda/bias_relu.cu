#include "kernels/bias_relu.h"

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/geometry.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

constexpr int threads = 256, packs_per_thread = 4;
// Rows that a thread adds in float before it goes on in double, and whose loads are in flight together.
constexpr int rows_per_sum = 128, rows_in_flight = 4;

__device__ inline float rectified(float value, bool relu) {
  return relu && value < 0 ? 0 : value;  // keeps NaN
}

// Aligned: packs do not straddle rows, and the bias can be read in packs too.
template <int N, bool Aligned, typename T>
__global__ void __launch_bounds__(threads, 4)
    bias_relu_kernel(int64_t count, int64_t channels, const float* bias, bool relu, T* y) {
  const int64_t block_first = static_cast<int64_t>(blockIdx.x) * threads * packs_per_thread * N;
  const int64_t block_channel = block_first % channels;
  Pack<T, N> packs[packs_per_thread];
#pragma unroll
  for (int i = 0; i < packs_per_thread; ++i) {
    const int64_t at = block_first + (i * threads + static_cast<int>(threadIdx.x)) * N;
    if (at + N <= count) packs[i] = load_pack<N>(y + at);
  }
#pragma unroll
  for (int i = 0; i < packs_per_thread; ++i) {
    const int offset = (i * threads + static_cast<int>(threadIdx.x)) * N;
    const int64_t at = block_first + offset;
    if (at >= count) return;
    int64_t c = block_channel + offset;
    // Both are far below 2^32 but for absurd sizes; a 32-bit remainder takes a third of the time.
    c = c < INT32_MAX && channels < INT32_MAX ? static_cast<int32_t>(c) % static_cast<int32_t>(channels)
                                              : c % channels;
    if (at + N <= count) {
      Pack<float, N> values = to_float(packs[i]), b;
      if constexpr (Aligned) {
        b = load_pack<N>(bias + c);
      } else {
#pragma unroll
        for (int j = 0; j < N; ++j) {
          b.v[j] = bias[c];
          c = c + 1 == channels ? 0 : c + 1;
        }
      }
#pragma unroll
      for (int j = 0; j < N; ++j) values.v[j] = rectified(values.v[j] + b.v[j], relu);
      store_pack(from_float<T>(values), y + at);
    } else {
      for (int64_t j = at; j < count; ++j) {
        y[j] = static_cast<T>(rectified(static_cast<float>(y[j]) + bias[c], relu));
        c = c + 1 == channels ? 0 : c + 1;
      }
    }
  }
}

// Masks the gradient and adds it up over one stretch of merged rows. sums[piece, width]; or, if there is
// but one piece, bias_gradient itself.
template <int N, bool Relu, typename T>
__global__ void __launch_bounds__(threads)
    bias_gradient_kernel(ColumnSumSplit split, const T* y, T* gradient, double* sums, float* bias_gradient) {
  const int64_t column_block = blockIdx.x % split.column_blocks, piece = blockIdx.x / split.column_blocks;
  const int columns = static_cast<int>(split.columns), lanes = static_cast<int>(split.lanes);
  const int column = static_cast<int>(threadIdx.x) % columns, lane = static_cast<int>(threadIdx.x) / columns;
  const int64_t at = (column_block * columns + column) * N;
  const int64_t end = std::min(split.groups, (piece + 1) * split.piece_groups);
  double total[N] = {};
  if (lane < lanes && at < split.width) {
    int64_t group = piece * split.piece_groups + lane;
    while (group < end) {
      float sum[N] = {};
      for (int rows = 0; rows < rows_per_sum && group < end; rows += rows_in_flight) {
        Pack<T, N> g[rows_in_flight], out[rows_in_flight];
#pragma unroll
        for (int r = 0; r < rows_in_flight; ++r) {
          const int64_t place = (group + r * lanes) * split.width + at;
          if (group + r * lanes >= end) continue;
          g[r] = load_pack<N>(gradient + place);
          if constexpr (Relu) out[r] = load_pack<N>(y + place);
        }
#pragma unroll
        for (int r = 0; r < rows_in_flight; ++r) {
          if (group + r * lanes >= end) continue;
#pragma unroll
          for (int j = 0; j < N; ++j) {
            if constexpr (Relu)
              if (!(static_cast<float>(out[r].v[j]) > 0)) g[r].v[j] = static_cast<T>(0.0f);
            sum[j] += static_cast<float>(g[r].v[j]);
          }
          if constexpr (Relu) store_pack(g[r], gradient + (group + r * lanes) * split.width + at);
        }
        group += rows_in_flight * lanes;
      }
#pragma unroll
      for (int j = 0; j < N; ++j) total[j] += sum[j];
    }
  }

  EELSVAE_SHARED(double[threads * N], lane_sums);
  if (lane < lanes)
    for (int j = 0; j < N; ++j) lane_sums[(lane * columns + column) * N + j] = total[j];
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < columns * N; i += threads) {
    const int64_t c = column_block * columns * N + i;
    if (c >= split.width) continue;
    double sum = 0;
    for (int l = 0; l < lanes; ++l) sum += lane_sums[l * columns * N + i];
    if (sums)
      sums[piece * split.width + c] = sum;
    else
      bias_gradient[c] = static_cast<float>(sum);
  }
}

// One warp for each channel: adds the pieces and the rows left over, which it masks.
template <bool Relu, typename T>
__global__ void __launch_bounds__(threads)
    bias_gradient_sum_kernel(ColumnSumSplit split, int64_t channels, const T* y, T* gradient,
                             const double* sums, float* bias_gradient) {
  const int64_t c = grid_thread() / warp_size;
  if (c >= channels) return;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  double sum = 0;
  for (int64_t i = lane; i < split.pieces * split.merged; i += warp_size)
    sum += sums[i / split.merged * split.width + i % split.merged * channels + c];
  if (lane < split.left_over) {
    const int64_t place = split.groups * split.width + lane * channels + c;
    if constexpr (Relu)
      if (!(static_cast<float>(y[place]) > 0)) gradient[place] = static_cast<T>(0.0f);
    sum += static_cast<float>(gradient[place]);
  }
  sum = warp_sum(sum);
  if (lane == 0) bias_gradient[c] = static_cast<float>(sum);
}

}  // namespace

void CudaBackend::bias_relu(int64_t rows, int64_t channels, ConstArray bias, bool relu, Array y) {
  expect(bias.count == channels && y.count == rows * channels, "bias_relu: wrong sizes");
  with_storage_type(storage_type(), [&]<typename T>(T) {
    constexpr int width = widest<T>;
    T* values = y.as<T>();
    const float* b = bias.as<float>();
    const bool packs = packs_fit<width>(values);
    const bool aligned = packs && channels % width == 0 && packs_fit<width>(b);
    launch(stream_, "bias_relu_kernel",
           aligned ? bias_relu_kernel<width, true, T>
           : packs ? bias_relu_kernel<width, false, T>
                   : bias_relu_kernel<1, false, T>,
           elementwise_blocks(y.count, threads, packs_per_thread, packs ? width : 1), threads, y.count,
           channels, b, relu, values);
  });
}

void CudaBackend::bias_relu_backward(int64_t rows, int64_t channels, ConstArray y, bool relu, Array gradient,
                                     Array bias_gradient) {
  expect(gradient.count == rows * channels && bias_gradient.count == channels &&
             (!relu || y.count == gradient.count),
         "bias_relu_backward: wrong sizes");
  with_storage_type(storage_type(), [&]<typename T>(T) {
    constexpr int width = widest<T>;
    T* g = gradient.as<T>();
    const T* out = relu ? y.as<T>() : nullptr;
    float* db = bias_gradient.as<float>();
    ColumnSumSplit split(rows, channels, width, threads);
    // Merged rows that are too wide for partial sums are left as they are.
    const bool packs = packs_fit<width>(g, out) && (split.merged == 1 || split.width <= most_partial_results);
    if (!packs) split = ColumnSumSplit(rows, channels, 1, threads);
    double* sums = split.direct() ? nullptr : partial_results<double>(split.pieces * split.width);
    launch(stream_, "bias_gradient_kernel",
           packs ? (relu ? bias_gradient_kernel<width, true, T> : bias_gradient_kernel<width, false, T>)
                 : (relu ? bias_gradient_kernel<1, true, T> : bias_gradient_kernel<1, false, T>),
           split.blocks(), threads, split, out, g, sums, db);
    if (split.direct()) return;
    launch(stream_, "bias_gradient_sum_kernel",
           relu ? bias_gradient_sum_kernel<true, T> : bias_gradient_sum_kernel<false, T>,
           grid_for(channels, threads / warp_size), threads, split, channels, out, g, sums, db);
  });
}

}  // namespace eelsvae::EELSVAE_GPU
