#include "kernels/adam.h"

#include <new>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/geometry.h"
#include "kernels/cuda/mma.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

constexpr int threads = 256;

// The step's numbers, worked out by one thread for its block; every thread calls it.
__device__ inline AdamStep<float> block_step(const StepScalars* scalars) {
  // Bytes, since an AdamStep has no default and what is shared must have one.
  EELSVAE_SHARED(unsigned char[sizeof(AdamStep<float>)], step);
  if (threadIdx.x == 0) ::new (static_cast<void*>(step)) AdamStep<float>(*scalars);
  __syncthreads();
  return *reinterpret_cast<const AdamStep<float>*>(step);
}

// Weights and moments pass through once in a step; what is read again should keep its place in the cache.
template <int N>
__device__ inline Pack<float, N> stream_in(const float* from) {
  if constexpr (N == 4)
    return std::bit_cast<Pack<float, 4>>(__ldcs(reinterpret_cast<const float4*>(from)));
  else
    return {{__ldcs(from)}};
}
template <int N>
__device__ inline void stream_out(const Pack<float, N>& pack, float* to) {
  if constexpr (N == 4)
    __stcs(reinterpret_cast<float4*>(to), std::bit_cast<float4>(pack));
  else
    __stcs(to, pack.v[0]);
}

// The compiler takes packs of small numbers apart and stores some of them number by number; a word stays
// whole.
template <typename T, int N>
__device__ inline void store_shadow(const Pack<T, N>& pack, T* to) {
  if constexpr (sizeof pack == sizeof(uint64_t))
    *reinterpret_cast<uint64_t*>(to) = std::bit_cast<uint64_t>(pack);
  else
    store_pack(pack, to);
}

// Weights with their moments.
template <int N>
struct State {
  Pack<float, N> w, m, v;

  __device__ static State load(const float* w, const float* m, const float* v) {
    return {stream_in<N>(w), stream_in<N>(m), stream_in<N>(v)};
  }
  __device__ void update(const float* gradient, const AdamStep<float>& step) {
#pragma unroll
    for (int i = 0; i < N; ++i) adam_update(w.v[i], m.v[i], v.v[i], gradient[i], step);
  }
  __device__ void store(float* to_w, float* to_m, float* to_v) const {
    stream_out(w, to_w);
    stream_out(m, to_m);
    stream_out(v, to_v);
  }
};

template <int N>
__global__ void __launch_bounds__(threads)
    adam_kernel(int64_t count, const float* gradient, const StepScalars* scalars, float* w, float* m,
                float* v) {
  const int64_t at = grid_thread() * N;
  State<N> state;
  Pack<float, N> g;
  if (at + N <= count) {
    state = State<N>::load(w + at, m + at, v + at);
    g = stream_in<N>(gradient + at);
  }
  const AdamStep<float> step = block_step(scalars);
  if (at + N <= count) {
    state.update(g.v, step);
    state.store(w + at, m + at, v + at);
  } else {
    for (int64_t i = at; i < count; ++i) adam_update(w[i], m[i], v[i], gradient[i], step);
  }
}

// What the kernels of the outer product work on: w, m, v, shadow (out, in), x (batch, in), d (batch, out).
template <typename T>
struct OuterProduct {
  int64_t batch, in, out;
  const T *x, *d;
  const StepScalars* scalars;
  float *w, *m, *v;
  T* shadow;  // or null
  MatrixTiling tiling;

  // Updates the weights (row + i * row_stride, column..column + N) with gradient[i], i < Rows, two rows in
  // flight at a time. The columns must exist, the rows need not.
  template <int N, int Rows, int Columns>
  __device__ void update(int64_t row, int64_t row_stride, int64_t column,
                         const float (&gradient)[Rows][Columns], const AdamStep<float>& step) const {
    constexpr int in_flight = Rows % 2 == 0 ? 2 : 1;
#pragma unroll
    for (int first = 0; first < Rows; first += in_flight) {
      State<N> state[in_flight];
#pragma unroll
      for (int i = 0; i < in_flight; ++i) {
        const int64_t r = row + (first + i) * row_stride, at = r * in + column;
        if (r < out) state[i] = State<N>::load(w + at, m + at, v + at);
      }
#pragma unroll
      for (int i = 0; i < in_flight; ++i) {
        const int64_t r = row + (first + i) * row_stride, at = r * in + column;
        if (r >= out) continue;
        state[i].update(gradient[first + i], step);
        state[i].store(w + at, m + at, v + at);
        if (shadow) store_shadow(from_float<T>(state[i].w), shadow + at);
      }
    }
  }
};

// ---- multiply-adds ----

// A thread forms the gradient of N columns in eight rows, from x in registers and d in shared memory. Column
// threads lie side by side; where a row of w is short, the block takes several groups of rows.
constexpr int rows_per_thread = 8, batch_chunk = 16;
constexpr int least_column_threads = 32, most_row_groups = threads / least_column_threads;

template <int N, typename T>
__global__ void __launch_bounds__(threads) adam_outer_product_kernel(OuterProduct<T> p, int column_threads) {
  const auto [row_tile, column_tile] = p.tiling.place(blockIdx.x);
  const int t = static_cast<int>(threadIdx.x), groups = threads / column_threads;
  const int row_in_block = t / column_threads * rows_per_thread;
  const int64_t first_row = row_tile * groups * rows_per_thread;
  const int64_t column = (column_tile * column_threads + t % column_threads) * N;
  const AdamStep<float> step = block_step(p.scalars);

  EELSVAE_SHARED(float[batch_chunk][most_row_groups * rows_per_thread], d);
  float gradient[rows_per_thread][N] = {};
  for (int64_t begin = 0; begin < p.batch; begin += batch_chunk) {
    const int chunk = static_cast<int>(std::min<int64_t>(batch_chunk, p.batch - begin));
    __syncthreads();
    for (int i = t; i < chunk * groups * rows_per_thread; i += threads) {
      const int b = i / (groups * rows_per_thread), r = i % (groups * rows_per_thread);
      d[b][r] = first_row + r < p.out ? static_cast<float>(p.d[(begin + b) * p.out + first_row + r]) : 0.0f;
    }
    __syncthreads();
    if (column >= p.in) continue;
#pragma unroll 4
    for (int b = 0; b < chunk; ++b) {
      const Pack<float, N> x = to_float(load_pack<N>(p.x + (begin + b) * p.in + column));
#pragma unroll
      for (int r = 0; r < rows_per_thread; ++r) {
        const float factor = d[b][row_in_block + r];
#pragma unroll
        for (int j = 0; j < N; ++j) gradient[r][j] += factor * x.v[j];
      }
    }
  }
  if (column < p.in) p.template update<N>(first_row + row_in_block, 1, column, gradient, step);
}

// ---- tensor cores ----

// A block forms the gradient of 64 rows and 128 columns, a warp of 16 rows and 64 columns: eight products
// side by side. Two neighbouring products share 16 columns in such a way that a thread gets four columns in a
// row: column n of the first is 4 (n / 2) + n % 2 of the 16, that of the second 2 further.
constexpr int block_rows = 64, block_columns = 128;
constexpr int warp_rows = mma_rows, warp_columns = 64;
constexpr int words_per_chunk = 32;
// Rows of words of x and d, padded so that the lanes of a fragment read different banks, or share one by two.
constexpr int x_pitch = block_columns + 16, d_pitch = block_rows + 8;

// The words of `Columns` columns of a factor (batch, length), transposed: to[word][column], with zeros beyond
// the factor. batch counts from the chunk's first row on.
template <int Columns, int Pitch, int N, typename T>
__device__ inline void stage_words(int64_t batch, int64_t length, int64_t first_column, const T* values,
                                   int words, uint32_t* to) {
  constexpr int packs = Columns / N, numbers = static_cast<int>(4 / sizeof(T));
  for (int i = static_cast<int>(threadIdx.x); i < words * packs; i += threads) {
    const int word = i / packs, column = i % packs * N;
    Pack<T, N> rows[numbers];
#pragma unroll
    for (int r = 0; r < numbers; ++r) {
      const int64_t b = int64_t{word} * numbers + r;
      if (b < batch && first_column + column < length)
        rows[r] = load_pack<N>(values + b * length + first_column + column);
      else
        rows[r] = from_float<T>(Pack<float, N>{});
    }
    Pack<uint32_t, N> pack;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      if constexpr (numbers == 2)
        pack.v[j] = mma_word(rows[0].v[j], rows[1].v[j]);
      else
        pack.v[j] = mma_word(rows[0].v[j]);
    }
    store_pack(pack, to + word * Pitch + column);
  }
}

// XWidth, DWidth: elements of x and of d that one access reads; x's is that of w, m and v too.
template <int XWidth, int DWidth, typename T>
__global__ void __launch_bounds__(threads, 2) adam_outer_product_mma_kernel(OuterProduct<T> p) {
  constexpr int batch_per_word = static_cast<int>(4 / sizeof(T));
  EELSVAE_SHARED(uint32_t[words_per_chunk * x_pitch], x);
  EELSVAE_SHARED(uint32_t[words_per_chunk * d_pitch], d);
  const auto [row_tile, column_tile] = p.tiling.place(blockIdx.x);
  const int64_t first_row = row_tile * block_rows, first_column = column_tile * block_columns;
  const int warp = static_cast<int>(threadIdx.x) / warp_size,
            lane = static_cast<int>(threadIdx.x) % warp_size;
  const int g = lane / 4, q = lane % 4;
  const int warp_row = warp % (block_rows / warp_rows) * warp_rows;
  const int warp_column = warp / (block_rows / warp_rows) * warp_columns;
  const AdamStep<float> step = block_step(p.scalars);

  constexpr int products = warp_columns / mma_columns;
  float c[products][4] = {};
  constexpr int64_t batch_per_chunk = words_per_chunk * batch_per_word;
  for (int64_t begin = 0; begin < p.batch; begin += batch_per_chunk) {
    const int64_t batch = std::min(batch_per_chunk, p.batch - begin);
    const int words = static_cast<int>(divide_up(divide_up(batch, batch_per_word), mma_words)) * mma_words;
    __syncthreads();
    stage_words<block_columns, x_pitch, XWidth>(batch, p.in, first_column, p.x + begin * p.in, words, x);
    stage_words<block_rows, d_pitch, DWidth>(batch, p.out, first_row, p.d + begin * p.out, words, d);
    __syncthreads();
    for (int k = 0; k < words; k += mma_words) {
      const uint32_t* rows = d + (k + q) * d_pitch + warp_row + g;
      const uint32_t a[4] = {rows[0], rows[8], rows[4 * d_pitch], rows[4 * d_pitch + 8]};
#pragma unroll
      for (int n = 0; n < products; ++n) {
        const int column = n / 2 * 16 + n % 2 * 2 + g / 2 * 4 + g % 2;
        const uint32_t* columns = x + (k + q) * x_pitch + warp_column + column;
        const uint32_t b[2] = {columns[0], columns[4 * x_pitch]};
        mma<T>(c[n], a, b);
      }
    }
  }
  const int64_t row = first_row + warp_row + g;
#pragma unroll
  for (int n = 0; n < products; n += 2) {
    const int64_t column = first_column + warp_column + n / 2 * 16 + q * 4;
    const float gradient[2][4] = {{c[n][0], c[n][1], c[n + 1][0], c[n + 1][1]},
                                  {c[n][2], c[n][3], c[n + 1][2], c[n + 1][3]}};
    if constexpr (XWidth == 4) {
      if (column < p.in) p.template update<4>(row, 8, column, gradient, step);
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float one[2][1] = {{gradient[0][j]}, {gradient[1][j]}};
        if (column + j < p.in) p.template update<1>(row, 8, column + j, one, step);
      }
    }
  }
}

// From this batch on the multiply-adds would take longer than the memory.
constexpr int64_t least_mma_batch = 16;

}  // namespace

void CudaBackend::adam(ConstArray gradient, const StepScalars* scalars, Array w, Array m, Array v) {
  expect(gradient.count == w.count && m.count == w.count && v.count == w.count, "adam: different sizes");
  const float* g = gradient.as<float>();
  float *pw = w.as<float>(), *pm = m.as<float>(), *pv = v.as<float>();
  const bool packs = packs_fit<4>(g, pw, pm, pv);
  launch(stream_, "adam_kernel", packs ? adam_kernel<4> : adam_kernel<1>,
         elementwise_blocks(w.count, threads, 1, packs ? 4 : 1), threads, w.count, g, scalars, pw, pm, pv);
}

void CudaBackend::adam_outer_product(int64_t batch, int64_t in, int64_t out, ConstArray x, ConstArray d,
                                     const StepScalars* scalars, Array w, Array m, Array v, Array shadow) {
  expect(x.count == batch * in && d.count == batch * out, "adam_outer_product: wrong factors");
  expect(
      w.count == in * out && m.count == w.count && v.count == w.count && (!shadow || shadow.count == w.count),
      "adam_outer_product: wrong state");
  with_storage_type(storage_type(), [&]<typename T>(T) {
    OuterProduct<T> p{batch,
                      in,
                      out,
                      x.as<T>(),
                      d.as<T>(),
                      scalars,
                      w.as<float>(),
                      m.as<float>(),
                      v.as<float>(),
                      shadow ? shadow.as<T>() : nullptr,
                      MatrixTiling(out, in, block_rows, block_columns)};
    const bool packs = in % 4 == 0 && packs_fit<4>(p.x, p.shadow) && packs_fit<4>(p.w, p.m, p.v);
    if (math_ != Math::fp32 && batch >= least_mma_batch) {
      const bool d_packs = out % 4 == 0 && packs_fit<4>(p.d);
      launch(
          stream_, "adam_outer_product_mma_kernel",
          packs ? (d_packs ? adam_outer_product_mma_kernel<4, 4, T> : adam_outer_product_mma_kernel<4, 1, T>)
                : (d_packs ? adam_outer_product_mma_kernel<1, 4, T> : adam_outer_product_mma_kernel<1, 1, T>),
          p.tiling.blocks(), threads, p);
      return;
    }
    const int width = packs ? 4 : 1;
    int column_threads = least_column_threads;
    while (column_threads < threads && column_threads * width < in) column_threads *= 2;
    p.tiling = MatrixTiling(out, in, threads / column_threads * rows_per_thread, column_threads * width);
    launch(stream_, "adam_outer_product_kernel",
           packs ? adam_outer_product_kernel<4, T> : adam_outer_product_kernel<1, T>, p.tiling.blocks(),
           threads, p, column_threads);
  });
}

}  // namespace eelsvae::EELSVAE_GPU
