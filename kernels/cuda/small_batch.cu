#include "kernels/cuda/small_batch.h"

#include "kernels/cuda/device.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

constexpr int threads = 256, warps = threads / warp_size;

// Blocks that should be on a multiprocessor at once: memory is kept busy by what many warps have in flight,
// and sums for more tiles need more registers.
constexpr int resident_blocks(int batch) {
  return batch <= 2 ? 4 : 2;
}

// y (count) = relu?(sum over splits of partial (splits, count) + bias[i % columns]?)
template <typename T>
__global__ void add_splits_kernel(int64_t count, int64_t columns, int64_t splits, const float* partial,
                                  const float* bias, bool relu, T* y) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) {
    float sum = bias ? bias[i % columns] : 0;
    for (int64_t s = 0; s < splits; ++s) sum += partial[s * count + i];
    y[i] = static_cast<T>(relu && sum < 0 ? 0.0f : sum);
  }
}

template <typename T, int N, int Batch>
__global__ void __launch_bounds__(threads, resident_blocks(Batch))
    small_batch_forward_kernel(LinearProblem p, SmallBatchGeometry g, const T* x, const T* w,
                               const float* bias, bool relu, T* y, float* partial) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int64_t warp = grid_thread() / warp_size;
  if (warp >= g.groups * g.splits) return;
  // Neighbouring warps take the same inputs of other rows, so that they find x in the nearest cache.
  const int64_t first = warp % g.groups * rows_per_warp, split = warp / g.groups;
  const int64_t end = split * g.stretch + g.stretch < p.in ? split * g.stretch + g.stretch : p.in;
  const T* row[rows_per_warp];
  for (int r = 0; r < rows_per_warp; ++r) row[r] = w + (first + r < p.out ? first + r : p.out - 1) * p.in;

  float sum[rows_per_warp][Batch] = {};
#pragma unroll(Batch == 1 ? 2 : 1)
  for (int64_t i = split * g.stretch + lane * N; i < end; i += warp_size * N) {
    Pack<T, N> weights[rows_per_warp];
#pragma unroll
    for (int r = 0; r < rows_per_warp; ++r) weights[r] = load_pack<N>(row[r] + i);
    const T* of_tile = x + i;  // one address, moved on: one for each tile would take too many registers
#pragma unroll
    for (int b = 0; b < Batch; ++b) {
      const Pack<T, N> inputs = load_pack<N>(of_tile);
      if (b + 1 < p.batch) of_tile += p.in;
#pragma unroll
      for (int r = 0; r < rows_per_warp; ++r)
#pragma unroll
        for (int n = 0; n < N; ++n)
          sum[r][b] += static_cast<float>(inputs.v[n]) * static_cast<float>(weights[r].v[n]);
    }
  }
#pragma unroll
  for (int r = 0; r < rows_per_warp; ++r)
#pragma unroll
    for (int b = 0; b < Batch; ++b) {
      const float total = warp_sum(sum[r][b]);
      if (lane != 0 || first + r >= p.out || b >= p.batch) continue;
      const int64_t at = b * p.out + first + r;
      if (g.splits > 1) {
        partial[split * p.batch * p.out + at] = total;
      } else {
        const float value = total + bias[first + r];
        y[at] = static_cast<T>(relu && value < 0 ? 0.0f : value);
      }
    }
}

template <typename T, int N, int Batch>
__global__ void __launch_bounds__(threads, resident_blocks(Batch))
    small_batch_backward_kernel(LinearProblem p, SmallBatchGeometry g, const T* dy, const T* w, T* dx,
                                float* partial) {
  EELSVAE_SHARED(float[warps][warp_size * N], tile);
  const int lane = static_cast<int>(threadIdx.x) % warp_size,
            warp = static_cast<int>(threadIdx.x) / warp_size;
  const int64_t group = blockIdx.x % g.groups, split = blockIdx.x / g.groups;
  const int64_t column = group * warp_size * N + lane * N;
  const int64_t end = split * g.stretch + g.stretch < p.out ? split * g.stretch + g.stretch : p.out;

  float sum[Batch][N] = {};
  if (column < p.in) {  // N divides in
    const auto add_row = [&](int64_t o, const Pack<T, N>& row) {
      const T* of_tile = dy + o;
#pragma unroll
      for (int b = 0; b < Batch; ++b) {
        const float gradient = static_cast<float>(*of_tile);
        if (b + 1 < p.batch) of_tile += p.out;
#pragma unroll
        for (int n = 0; n < N; ++n) sum[b][n] += gradient * static_cast<float>(row.v[n]);
      }
    };
    constexpr int in_flight = Batch <= 4 ? 4 : 3;  // as registers allow
    const int64_t step = warps * p.in;
    int64_t o = split * g.stretch + warp;
    const T* row = w + o * p.in + column;
    for (; o + (in_flight - 1) * warps < end; o += in_flight * warps) {
      // In a loop of their own, so that no load waits for the arithmetic of the one before.
      Pack<T, N> rows[in_flight];
#pragma unroll
      for (int k = 0; k < in_flight; ++k, row += step) rows[k] = load_pack<N>(row);
#pragma unroll
      for (int k = 0; k < in_flight; ++k) add_row(o + k * warps, rows[k]);
    }
    for (; o < end; o += warps, row += step) add_row(o, load_pack<N>(row));
  }
#pragma unroll
  for (int b = 0; b < Batch; ++b) {
    if (b >= p.batch) break;
    __syncthreads();
#pragma unroll
    for (int n = 0; n < N; ++n) tile[warp][lane * N + n] = sum[b][n];
    __syncthreads();
    for (int c = static_cast<int>(threadIdx.x); c < warp_size * N; c += threads) {
      const int64_t i = group * warp_size * N + c;
      if (i >= p.in) continue;
      float total = 0;
      for (int k = 0; k < warps; ++k) total += tile[k][c];
      if (g.splits > 1)
        partial[(split * p.batch + b) * p.in + i] = total;
      else
        dx[b * p.in + i] = static_cast<T>(total);
    }
  }
}

// Calls f with the type, the elements of an access and the next larger of a few batches as constants.
template <typename F>
void with_case(const LinearProblem& p, DType type, F&& f) {
  auto with_batch = [&]<typename T, int N>(T, std::integral_constant<int, N> n) {
    expect(p.batch <= small_batch_limit, "a batch that is not small");
    if (p.batch == 1) return f(T{}, n, std::integral_constant<int, 1>{});
    if (p.batch == 2) return f(T{}, n, std::integral_constant<int, 2>{});
    if (p.batch <= 4) return f(T{}, n, std::integral_constant<int, 4>{});
    return f(T{}, n, std::integral_constant<int, 8>{});
  };
  auto with_type = [&]<typename T>(T) {
    if (p.in % widest<T> == 0)
      with_batch(T{}, std::integral_constant<int, widest<T>>{});
    else
      with_batch(T{}, std::integral_constant<int, 1>{});
  };
  if (type == DType::bf16)
    with_type(bfloat16{});
  else
    with_type(float{});
}

template <typename T>
void add_splits(cudaStream_t stream, int64_t count, int64_t columns, int64_t splits, const float* partial,
                const float* bias, bool relu, T* y) {
  launch(stream, "add_splits_kernel", add_splits_kernel<T>, grid_for(count, threads), threads, count, columns,
         splits, partial, bias, relu, y);
}

}  // namespace

size_t small_batch_workspace_bytes(const LinearProblem& p, DType type, Passes passes) {
  size_t bytes = 0;
  with_case(p, type, [&](auto, auto n, auto) {
    const SmallBatchGeometry forward = small_batch_forward_geometry(p),
                             backward = small_batch_backward_geometry(p, warp_size * n());
    const bool goes_back = passes == Passes::training && backward.splits > 1;
    const int64_t values = std::max(forward.splits > 1 ? forward.splits * p.batch * p.out : 0,
                                    goes_back ? backward.splits * p.batch * p.in : 0);
    bytes = static_cast<size_t>(values) * sizeof(float);
  });
  return bytes;
}

void small_batch_forward(cudaStream_t stream, const LinearProblem& p, DType type, const void* x,
                         const void* w, const float* bias, bool relu, void* y, void* workspace) {
  const SmallBatchGeometry g = small_batch_forward_geometry(p);
  with_case(p, type, [&]<typename T>(T, auto n, auto batch) {
    float* partial = static_cast<float*>(workspace);
    launch(stream, "small_batch_forward_kernel", small_batch_forward_kernel<T, n(), batch()>,
           grid_for(g.groups * g.splits, warps), threads, p, g, static_cast<const T*>(x),
           static_cast<const T*>(w), bias, relu, static_cast<T*>(y), partial);
    if (g.splits > 1)
      add_splits(stream, p.batch * p.out, p.out, g.splits, partial, bias, relu, static_cast<T*>(y));
  });
}

void small_batch_backward_data(cudaStream_t stream, const LinearProblem& p, DType type, const void* dy,
                               const void* w, void* dx, void* workspace) {
  with_case(p, type, [&]<typename T>(T, auto n, auto batch) {
    const SmallBatchGeometry g = small_batch_backward_geometry(p, warp_size * n());
    float* partial = static_cast<float*>(workspace);
    launch(stream, "small_batch_backward_kernel", small_batch_backward_kernel<T, n(), batch()>,
           g.groups * g.splits, threads, p, g, static_cast<const T*>(dy), static_cast<const T*>(w),
           static_cast<T*>(dx), partial);
    if (g.splits > 1)
      add_splits(stream, p.batch * p.in, p.in, g.splits, partial, static_cast<const float*>(nullptr), false,
                 static_cast<T*>(dx));
  });
}

}  // namespace eelsvae::EELSVAE_GPU
