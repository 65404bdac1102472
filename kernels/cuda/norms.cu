#include "kernels/norms.h"

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/geometry.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

constexpr int threads = 256;

// ---- sums ----

// sums[block] of the squares of a share of the values, read in strides of the grid; float within the values
// that a thread reads at once, double beyond.
constexpr int packs_per_sum = 4;

template <int N>
__global__ void __launch_bounds__(threads)
    squared_norm_kernel(int64_t count, const float* values, double* sums) {
  const int64_t stride = grid_threads() * N;
  double total = 0;
  for (int64_t first = grid_thread() * N; first < count; first += packs_per_sum * stride) {
    Pack<float, N> packs[packs_per_sum];
#pragma unroll
    for (int p = 0; p < packs_per_sum; ++p)
      if (first + p * stride + N <= count) packs[p] = load_pack<N>(values + first + p * stride);
    float sum = 0;
#pragma unroll
    for (int p = 0; p < packs_per_sum; ++p) {
      const int64_t at = first + p * stride;
      if (at + N <= count) {
#pragma unroll
        for (int j = 0; j < N; ++j) sum += packs[p].v[j] * packs[p].v[j];
      } else {
        for (int64_t i = at; i < count; ++i) sum += values[i] * values[i];
      }
    }
    total += sum;
  }
  total = block_sum<threads>(total);
  if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

// One block. Where contributions cancel, rounding can leave a little less than nothing.
__global__ void __launch_bounds__(threads)
    squared_norm_sum_kernel(int64_t count, const double* sums, double* result) {
  double total = 0;
  for (int64_t i = threadIdx.x; i < count; i += threads) total += sums[i];
  total = block_sum<threads>(total);
  if (threadIdx.x == 0) *result = total > 0 ? total : total == total ? 0 : total;
}

// ---- Gram matrices ----

// All products of R rows, in registers. A thread sees so few elements of a stretch that float will do; sums
// over threads are in double. Of gram (pieces, R, R) the upper triangle is 0 and the lower one counts twice.
template <int R, int N, typename T>
__global__ void __launch_bounds__(threads)
    gram_rows_kernel(int64_t batch, int64_t length, int64_t piece_length, const T* values, double* gram) {
  const int64_t begin = blockIdx.x * piece_length, end = std::min(length, begin + piece_length);
  float sum[R * (R + 1) / 2] = {};
  for (int64_t at = begin + static_cast<int64_t>(threadIdx.x) * N; at < end; at += threads * N) {
    Pack<T, N> rows[R];
#pragma unroll
    for (int a = 0; a < R; ++a) {
      if (a < batch)
        rows[a] = load_pack<N>(values + a * length + at);
      else
        rows[a] = from_float<T>(Pack<float, N>{});
    }
#pragma unroll
    for (int a = 0; a < R; ++a)
#pragma unroll
      for (int b = 0; b <= a; ++b)
#pragma unroll
        for (int j = 0; j < N; ++j)
          sum[a * (a + 1) / 2 + b] += static_cast<float>(rows[a].v[j]) * static_cast<float>(rows[b].v[j]);
  }
  // Sums over the warp, then over the warps in their order.
  constexpr int warps = threads / warp_size;
  EELSVAE_SHARED(double[warps][R * (R + 1) / 2], partial);
#pragma unroll
  for (int i = 0; i < R * (R + 1) / 2; ++i) {
    const double total = warp_sum(static_cast<double>(sum[i]));
    if (threadIdx.x % warp_size == 0) partial[threadIdx.x / warp_size][i] = total;
  }
  __syncthreads();
  const int t = static_cast<int>(threadIdx.x);
  if (t < R * R) {
    const int a = t / R, b = t % R;
    double total = 0;
    if (b <= a)
      for (int w = 0; w < warps; ++w) total += partial[w][a * (a + 1) / 2 + b];
    gram[blockIdx.x * (R * R) + t] = total;
  }
}

// A tile of 16 M rows by as many; a thread has M by M of the products. gram (pieces, tiles, 16 M, 16 M).
template <int M, int N, typename T>
__global__ void __launch_bounds__(threads)
    gram_tile_kernel(int64_t batch, int64_t length, int64_t piece_length, int64_t tiles, const T* values,
                     double* gram) {
  constexpr int rows = 16 * M, chunk = 64, chunks_per_sum = 4;
  // Transposed, with rows that keep the alignment of packs of four but not the bank.
  constexpr int pitch = rows + 4;
  EELSVAE_SHARED(float[chunk * pitch], left);
  EELSVAE_SHARED(float[chunk * pitch], right);
  const int64_t tile = blockIdx.x % tiles, piece = blockIdx.x / tiles;
  int64_t row_tile = 0;  // of the lower triangle, row after row
  while ((row_tile + 1) * (row_tile + 2) / 2 <= tile) ++row_tile;
  const int64_t column_tile = tile - row_tile * (row_tile + 1) / 2;
  const bool diagonal = row_tile == column_tile;
  const int64_t begin = piece * piece_length, end = std::min(length, begin + piece_length);
  const int t = static_cast<int>(threadIdx.x), tx = t % 16, ty = t / 16;

  auto stage = [&](int64_t first_row, int64_t at, float* to) {
    constexpr int packs = chunk / N, per_thread = rows * packs / threads;
    static_assert(rows * packs % threads == 0);
    Pack<T, N> loaded[per_thread];
#pragma unroll
    for (int i = 0; i < per_thread; ++i) {
      const int row = (t + i * threads) / packs, column = (t + i * threads) % packs * N;
      if (first_row + row < batch && at + column < end)
        loaded[i] = load_pack<N>(values + (first_row + row) * length + at + column);
      else
        loaded[i] = from_float<T>(Pack<float, N>{});
    }
#pragma unroll
    for (int i = 0; i < per_thread; ++i) {
      const int row = (t + i * threads) / packs, column = (t + i * threads) % packs * N;
#pragma unroll
      for (int j = 0; j < N; ++j) to[(column + j) * pitch + row] = static_cast<float>(loaded[i].v[j]);
    }
  };

  double total[M][M] = {};
  float sum[M][M] = {};
  int chunks = 0;
  for (int64_t at = begin; at < end; at += chunk) {
    __syncthreads();
    stage(row_tile * rows, at, left);
    if (!diagonal) stage(column_tile * rows, at, right);
    __syncthreads();
    const float* other = diagonal ? left : right;
#pragma unroll 8
    for (int k = 0; k < chunk; ++k) {
      const Pack<float, M> a = load_pack<M>(left + k * pitch + ty * M);
      const Pack<float, M> b = load_pack<M>(other + k * pitch + tx * M);
#pragma unroll
      for (int i = 0; i < M; ++i)
#pragma unroll
        for (int j = 0; j < M; ++j) sum[i][j] += a.v[i] * b.v[j];
    }
    if (++chunks % chunks_per_sum != 0 && at + chunk < end) continue;
#pragma unroll
    for (int i = 0; i < M; ++i)
#pragma unroll
      for (int j = 0; j < M; ++j) {
        total[i][j] += sum[i][j];
        sum[i][j] = 0;
      }
  }
  double* to = gram + static_cast<int64_t>(blockIdx.x) * (rows * rows);
#pragma unroll
  for (int i = 0; i < M; ++i)
#pragma unroll
    for (int j = 0; j < M; ++j) to[(ty * M + i) * rows + tx * M + j] = total[i][j];
}

// sums[block] of the products of 32 entries of the two matrices, whose pieces eight threads share.
constexpr int entries_per_block = 32, entry_lanes = threads / entries_per_block;

__global__ void __launch_bounds__(threads)
    gram_product_kernel(GramSplit split, int64_t x_pieces, const double* x_gram, int64_t d_pieces,
                        const double* d_gram, double* sums) {
  const int t = static_cast<int>(threadIdx.x), e = t % entries_per_block, lane = t / entries_per_block;
  const int64_t entry = static_cast<int64_t>(blockIdx.x) * entries_per_block + e;
  double x = 0, d = 0;
  if (entry < split.entries) {
    for (int64_t p = lane; p < x_pieces; p += entry_lanes) x += x_gram[p * split.entries + entry];
    for (int64_t p = lane; p < d_pieces; p += entry_lanes) d += d_gram[p * split.entries + entry];
  }
  EELSVAE_SHARED(double[threads], x_sums);
  EELSVAE_SHARED(double[threads], d_sums);
  x_sums[t] = x;
  d_sums[t] = d;
  __syncthreads();
  double product = 0;
  if (lane == 0 && entry < split.entries) {
    x = d = 0;
    for (int l = 0; l < entry_lanes; ++l) {
      x += x_sums[l * entries_per_block + e];
      d += d_sums[l * entries_per_block + e];
    }
    // What lies below the diagonal stands for its mirror image as well: entries of small tiles, whole tiles
    // of large ones, which have both halves of the tiles on the diagonal.
    const int64_t size = split.tile, tile = entry / (size * size), within = entry % (size * size);
    int64_t row_tile = 0;
    while ((row_tile + 1) * (row_tile + 2) / 2 <= tile) ++row_tile;
    const bool on_diagonal = tile - row_tile * (row_tile + 1) / 2 == row_tile;
    const bool once = size <= 8 ? within / size == within % size : on_diagonal;
    product = (once ? 1 : 2) * x * d;
  }
  product = block_sum<threads>(product);
  if (t == 0) sums[blockIdx.x] = product;
}

template <int N, typename T>
void gram_matrix(cudaStream_t stream, const GramSplit& split, int64_t batch, int64_t length, const T* values,
                 double* gram) {
  const int64_t piece = split.piece_length(length), pieces = split.pieces(length);
  auto rows = [&](auto* kernel) {
    launch(stream, "gram_rows_kernel", kernel, pieces, threads, batch, length, piece, values, gram);
  };
  auto tiles = [&](auto* kernel) {
    launch(stream, "gram_tile_kernel", kernel, pieces * split.tiles, threads, batch, length, piece,
           split.tiles, values, gram);
  };
  switch (split.tile) {
    case 1:
      return rows(gram_rows_kernel<1, N, T>);
    case 2:
      return rows(gram_rows_kernel<2, N, T>);
    case 4:
      return rows(gram_rows_kernel<4, N, T>);
    case 8:
      return rows(gram_rows_kernel<8, N, T>);
    case 16:
      return tiles(gram_tile_kernel<1, N, T>);
    case 32:
      return tiles(gram_tile_kernel<2, N, T>);
    default:
      return tiles(gram_tile_kernel<4, N, T>);
  }
}

__global__ void clip_kernel(int64_t count, const double* squares, double limit, double* norm,
                            StepScalars* scalars) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += squares[i];
  const double root = std::sqrt(sum);
  *norm = root;
  scalars->gradient_scale = clip_factor(root, limit);
}

}  // namespace

void CudaBackend::squared_norm(ConstArray values, Array result) {
  const float* v = values.as<float>();
  const bool packs = packs_fit<4>(v);
  const int64_t blocks = grid_for(values.count, threads * packs_per_sum * (packs ? 4 : 1), 1024);
  double* sums = partial_results<double>(blocks);
  launch(stream_, "squared_norm_kernel", packs ? squared_norm_kernel<4> : squared_norm_kernel<1>, blocks,
         threads, values.count, v, sums);
  launch(stream_, "squared_norm_sum_kernel", squared_norm_sum_kernel, 1, threads, blocks, sums,
         result.as<double>());
}

size_t CudaBackend::outer_product_workspace_bytes(int64_t batch) const {
  const GramSplit split(batch);
  return static_cast<size_t>(2 * split.most_pieces * split.entries +
                             divide_up(split.entries, entries_per_block)) *
         sizeof(double);
}

void CudaBackend::squared_norm_outer_product(int64_t batch, int64_t in, int64_t out, ConstArray x,
                                             ConstArray d, Array result, void* workspace) {
  expect(x.count == batch * in && d.count == batch * out, "squared_norm_outer_product: wrong factors");
  const GramSplit split(batch);
  double* x_gram = static_cast<double*>(workspace);
  double* d_gram = x_gram + split.most_pieces * split.entries;
  double* sums = d_gram + split.most_pieces * split.entries;
  with_storage_type(storage_type(), [&]<typename T>(T) {
    auto gram = [&](int64_t length, const T* values, double* to) {
      if (length % 4 == 0 && packs_fit<4>(values))
        gram_matrix<4>(stream_, split, batch, length, values, to);
      else
        gram_matrix<1>(stream_, split, batch, length, values, to);
    };
    gram(in, x.as<T>(), x_gram);
    gram(out, d.as<T>(), d_gram);
  });
  const int64_t blocks = divide_up(split.entries, entries_per_block);
  launch(stream_, "gram_product_kernel", gram_product_kernel, blocks, threads, split, split.pieces(in),
         x_gram, split.pieces(out), d_gram, sums);
  launch(stream_, "squared_norm_sum_kernel", squared_norm_sum_kernel, 1, threads, blocks, sums,
         result.as<double>());
}

void CudaBackend::clip(ConstArray squares, double limit, Array norm, StepScalars* scalars) {
  launch(stream_, "clip_kernel", clip_kernel, 1, 1, squares.count, squares.as<double>(), limit,
         norm.as<double>(), scalars);
}

}  // namespace eelsvae::EELSVAE_GPU
