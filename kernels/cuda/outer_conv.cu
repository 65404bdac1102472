#include "kernels/cuda/outer_conv.h"

#include <bit>

#include "kernels/cuda/device.h"
#include "kernels/cuda/geometry.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

constexpr int threads = 256;
constexpr int most_taps = 16, most_stride = 8, most_lanes = 16;
// Positions of y that a block takes at a time, and blocks of a pass: enough for every multiprocessor to have
// several, and few enough for each to keep its weights over many positions.
constexpr int y_positions = 256, most_blocks = 2048;
constexpr int packs_in_flight = 4;

// `lanes` threads (a power of two) have N channels each of one position of y; a block has threads / lanes
// positions at once.
struct OuterShape {
  int64_t in, out;  // energies
  int channels, taps, stride, padding, lanes;

  OuterShape(const Conv3dProblem& p, int width)
      : in(p.in.e),
        out(p.out().e),
        channels(static_cast<int>(p.out_channels)),
        taps(static_cast<int>(p.kernel.e)),
        stride(static_cast<int>(p.stride.e)),
        padding(static_cast<int>(p.padding.e)),
        lanes(static_cast<int>(std::bit_ceil(static_cast<unsigned>(divide_up(channels, width))))) {}
};

// The thread's weights, zero beyond the channels and the taps.
template <int N, int K>
struct Weights {
  float v[N][K];
  __device__ Weights(const OuterShape& s, int channel, const float* w) {
#pragma unroll
    for (int j = 0; j < N; ++j)
#pragma unroll
      for (int k = 0; k < K; ++k)
        v[j][k] = channel + j < s.channels && k < s.taps ? w[(channel + j) * s.taps + k] : 0.0f;
  }
};

// Puts what the positions [first, first + count) of y see of a spectrum x into shared memory, with zeros
// outside the spectrum: to[i] = x[first * stride - padding + i].
template <int K, typename T>
__device__ inline void stage_window(const OuterShape& s, const T* x, int64_t first, int count, float* to) {
  __syncthreads();  // the last window may still be read
  const int size = (count - 1) * s.stride + K;
  const int64_t begin = first * s.stride - s.padding;
  for (int i = static_cast<int>(threadIdx.x); i < size; i += threads)
    to[i] = begin + i >= 0 && begin + i < s.in ? static_cast<float>(x[begin + i]) : 0.0f;
  __syncthreads();
}
constexpr int window_size = (y_positions - 1) * most_stride + most_taps;

// Calls f(position, its N channels) for the thread's positions of y among `count`, several loads ahead.
template <int N, typename T, typename F>
__device__ inline void for_positions(const OuterShape& s, const T* y, int first, int count, F f) {
  const int stride = threads / s.lanes;
  for (int start = first; start < count; start += packs_in_flight * stride) {
    Pack<T, N> packs[packs_in_flight];
#pragma unroll
    for (int i = 0; i < packs_in_flight; ++i) {
      const int o = start + i * stride;
      if (o < count) packs[i] = load_pack<N>(y + static_cast<int64_t>(o) * s.channels);
    }
#pragma unroll
    for (int i = 0; i < packs_in_flight; ++i) {
      const int o = start + i * stride;
      if (o < count) f(o, to_float(packs[i]));
    }
  }
}

template <int N, int K, typename T>
__global__ void __launch_bounds__(threads, 2)
    outer_forward_kernel(OuterShape s, SpectrumSplit split, const T* x, const float* w, const float* bias,
                         bool relu, T* y) {
  EELSVAE_SHARED(float[window_size], window);
  const int lane = static_cast<int>(threadIdx.x) % s.lanes,
            position = static_cast<int>(threadIdx.x) / s.lanes;
  const int channel = lane * N;
  const Weights<N, K> weights(s, channel, w);
  Pack<float, N> b{};
#pragma unroll
  for (int j = 0; j < N; ++j)
    if (bias && channel + j < s.channels) b.v[j] = bias[channel + j];

  for (int64_t item = blockIdx.x; item < split.items; item += gridDim.x) {
    const int64_t row = item / split.pieces, first = item % split.pieces * split.piece;
    const int count = static_cast<int>(std::min(split.piece, s.out - first));
    if (count <= 0) continue;  // of the whole block
    stage_window<K>(s, x + row * s.in, first, count, window);
    if (channel >= s.channels) continue;
    T* to = y + (row * s.out + first) * s.channels + channel;
    for (int o = position; o < count; o += threads / s.lanes) {
      Pack<float, N> sum = b;
#pragma unroll
      for (int k = 0; k < K; ++k) {
        const float value = window[o * s.stride + k];
#pragma unroll
        for (int j = 0; j < N; ++j) sum.v[j] += value * weights.v[j][k];
      }
#pragma unroll
      for (int j = 0; j < N; ++j)
        if (relu && sum.v[j] < 0) sum.v[j] = 0;
      store_pack(from_float<T>(sum), to + static_cast<int64_t>(o) * s.channels);
    }
  }
}

// Each thread's share of the products of a position's channels with the taps goes to shared memory:
// products[(lane * K + tap) * pitch + position]. Then the threads gather what belongs to an element of x.
constexpr int product_count = 7168;
// Positions for which there is room; odd, so that lanes spread over the banks.
constexpr int product_pitch(int lanes, int taps) {
  return ((product_count / (lanes * taps)) - 1) | 1;
}
// Elements of x whose positions fit.
int64_t longest_x_piece(const OuterShape& s, int taps) {
  return int64_t{product_pitch(s.lanes, taps) - 1} * s.stride - s.taps + 2;
}

template <int N, int K, typename T>
__global__ void __launch_bounds__(threads, 2)
    outer_backward_data_kernel(OuterShape s, SpectrumSplit split, const T* y, const float* w,
                               const float* bias, bool relu, T* x) {
  EELSVAE_SHARED(float[product_count], products);
  const int pitch = product_pitch(s.lanes, K);
  const int lane = static_cast<int>(threadIdx.x) % s.lanes,
            position = static_cast<int>(threadIdx.x) / s.lanes;
  const int channel = lane * N;
  const bool active = channel < s.channels;
  const Weights<N, K> weights(s, channel, w);
  const float b = bias ? *bias : 0.0f;

  for (int64_t item = blockIdx.x; item < split.items; item += gridDim.x) {
    const int64_t row = item / split.pieces, begin = item % split.pieces * split.piece;
    const int64_t end = std::min(s.in, begin + split.piece);
    if (begin >= end) continue;
    // Positions o with o * stride + k - padding in [begin, end) for some tap k.
    const int64_t least = begin + s.padding - (s.taps - 1);
    const int64_t first = least <= 0 ? 0 : divide_up(least, s.stride);
    const int64_t last = std::min(s.out - 1, (end - 1 + s.padding) / s.stride);
    const int count = static_cast<int>(last - first + 1);  // not positive where no position reaches
    const T* from = y + (row * s.out + first) * s.channels + channel;
    __syncthreads();  // the last products may still be read
    if (active)
      for_positions<N>(s, from, position, count, [&](int o, const Pack<float, N>& values) {
#pragma unroll
        for (int k = 0; k < K; ++k) {
          float sum = 0;
#pragma unroll
          for (int j = 0; j < N; ++j) sum += values.v[j] * weights.v[j][k];
          products[(lane * K + k) * pitch + o] = sum;
        }
      });
    __syncthreads();
    const int used_lanes = (s.channels + N - 1) / N;
    for (int64_t i = begin + threadIdx.x; i < end; i += threads) {
      float sum = b;
      // Tap k of position first + o reaches i where o * stride + k is this:
      const int reach = static_cast<int>(i + s.padding - first * s.stride);
      if (reach >= 0)
        for (int o = reach / s.stride, k = reach % s.stride; o >= 0 && k < s.taps; --o, k += s.stride)
          if (o < count)
            for (int l = 0; l < used_lanes; ++l) sum += products[(l * K + k) * pitch + o];
      if (relu && sum < 0) sum = 0;
      x[row * s.in + i] = static_cast<T>(sum);
    }
  }
}

// sums[c * taps + k, block]. A thread adds the products of its N channels with all taps over its positions in
// float, a warp its threads' sums; double beyond.
template <int N, int K, typename T>
__global__ void __launch_bounds__(threads, 2)
    outer_backward_weights_kernel(OuterShape s, SpectrumSplit split, const T* x, const T* y, double* sums) {
  EELSVAE_SHARED(float[window_size], window);
  const int lane = static_cast<int>(threadIdx.x) % s.lanes,
            position = static_cast<int>(threadIdx.x) / s.lanes;
  const int channel = lane * N;
  const bool active = channel < s.channels;
  float sum[N][K] = {};

  for (int64_t item = blockIdx.x; item < split.items; item += gridDim.x) {
    const int64_t row = item / split.pieces, first = item % split.pieces * split.piece;
    const int count = static_cast<int>(std::min(split.piece, s.out - first));
    if (count <= 0) continue;
    stage_window<K>(s, x + row * s.in, first, count, window);
    const T* from = y + (row * s.out + first) * s.channels + channel;
    if (active)
      for_positions<N>(s, from, position, count, [&](int o, const Pack<float, N>& values) {
#pragma unroll
        for (int k = 0; k < K; ++k) {
          const float value = window[o * s.stride + k];
#pragma unroll
          for (int j = 0; j < N; ++j) sum[j][k] += values.v[j] * value;
        }
      });
  }

  constexpr int warps = threads / warp_size;
  EELSVAE_SHARED(float[warps][most_lanes][K], warp_sums);
  const int warp = static_cast<int>(threadIdx.x) / warp_size;
#pragma unroll
  for (int j = 0; j < N; ++j) {
    __syncthreads();
#pragma unroll
    for (int k = 0; k < K; ++k) {
      float total = sum[j][k];
      for (int distance = warp_size / 2; distance >= s.lanes; distance /= 2)
        total += __shfl_xor_sync(whole_warp, total, distance);
      if (static_cast<int>(threadIdx.x) % warp_size < s.lanes) warp_sums[warp][lane][k] = total;
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < s.lanes * s.taps; i += threads) {
      const int l = i / s.taps, k = i % s.taps, c = l * N + j;
      double total = 0;
      for (int v = 0; v < warps; ++v) total += warp_sums[v][l][k];
      if (c < s.channels) sums[static_cast<int64_t>(c * s.taps + k) * gridDim.x + blockIdx.x] = total;
    }
  }
}

// A warp for each weight.
__global__ void __launch_bounds__(threads)
    outer_weight_sum_kernel(int64_t weights, int64_t blocks, const double* sums, float* dw) {
  const int64_t weight = grid_thread() / warp_size;
  if (weight >= weights) return;
  double sum = 0;
  for (int64_t b = threadIdx.x % warp_size; b < blocks; b += warp_size) sum += sums[weight * blocks + b];
  sum = warp_sum(sum);
  if (threadIdx.x % warp_size == 0) dw[weight] = static_cast<float>(sum);
}

int64_t spectra(const Conv3dProblem& p) {
  return p.batch * p.in.h * p.in.w;
}

SpectrumSplit y_split(const Conv3dProblem& p) {
  return SpectrumSplit(spectra(p), p.out().e, y_positions);
}

// Calls f(value of the storage type, channels of a pack, taps that a thread has registers for), the latter
// two as integral constants.
template <typename F>
void with_kernel_shape(const Conv3dProblem& p, DType storage, const void* y, F f) {
  auto with_width = [&]<typename T, int K>(T, std::integral_constant<int, K> taps) {
    // Sixteen taps leave registers for four channels only.
    constexpr int wide = K == most_taps ? 4 : widest<T>;
    const bool packs = p.out_channels % wide == 0 && reinterpret_cast<uintptr_t>(y) % 16 == 0;
    expect(packs || p.out_channels <= most_lanes, "outer convolution: y is not aligned");
    if (packs)
      f(T{}, std::integral_constant<int, wide>{}, taps);
    else
      f(T{}, std::integral_constant<int, 1>{}, taps);
  };
  auto with_taps = [&]<typename T>(T) {
    if (p.kernel.e == 7)
      with_width(T{}, std::integral_constant<int, 7>{});
    else
      with_width(T{}, std::integral_constant<int, most_taps>{});
  };
  if (storage == DType::bf16)
    with_taps(bfloat16{});
  else
    with_taps(float{});
}

}  // namespace

bool has_outer_kernels(const Conv3dProblem& p) {
  return p.in_channels == 1 && p.kernel.h == 1 && p.kernel.w == 1 && p.stride.h == 1 && p.stride.w == 1 &&
         p.padding.h == 0 && p.padding.w == 0 && p.kernel.e <= most_taps && p.stride.e <= most_stride &&
         p.out_channels <= (p.out_channels % 8 == 0 ? 64 : most_lanes);
}

void outer_forward(cudaStream_t stream, const Conv3dProblem& p, DType storage, const void* x, const float* w,
                   const float* bias, bool relu, void* y) {
  with_kernel_shape(
      p, storage, y,
      [&]<typename T, int N, int K>(T, std::integral_constant<int, N>, std::integral_constant<int, K>) {
        const SpectrumSplit split = y_split(p);
        launch(stream, "outer_forward_kernel", outer_forward_kernel<N, K, T>, split.blocks(most_blocks),
               threads, OuterShape(p, N), split, static_cast<const T*>(x), w, bias, relu, static_cast<T*>(y));
      });
}

void outer_backward_data(cudaStream_t stream, const Conv3dProblem& p, DType storage, const void* y,
                         const float* w, const float* bias, bool relu, void* x) {
  with_kernel_shape(
      p, storage, y,
      [&]<typename T, int N, int K>(T, std::integral_constant<int, N>, std::integral_constant<int, K>) {
        const OuterShape shape(p, N);
        const SpectrumSplit split(spectra(p), p.in.e, longest_x_piece(shape, K));
        launch(stream, "outer_backward_data_kernel", outer_backward_data_kernel<N, K, T>,
               split.blocks(most_blocks), threads, shape, split, static_cast<const T*>(y), w, bias, relu,
               static_cast<T*>(x));
      });
}

size_t outer_workspace_bytes(const Conv3dProblem& p) {
  return static_cast<size_t>(p.weight_count() * y_split(p).blocks(most_blocks)) * sizeof(double);
}

void outer_backward_weights(cudaStream_t stream, const Conv3dProblem& p, DType storage, const void* x,
                            const void* y, float* dw, void* workspace) {
  const SpectrumSplit split = y_split(p);
  const int64_t blocks = split.blocks(most_blocks);
  double* sums = static_cast<double*>(workspace);
  with_kernel_shape(
      p, storage, y,
      [&]<typename T, int N, int K>(T, std::integral_constant<int, N>, std::integral_constant<int, K>) {
        launch(stream, "outer_backward_weights_kernel", outer_backward_weights_kernel<N, K, T>, blocks,
               threads, OuterShape(p, N), split, static_cast<const T*>(x), static_cast<const T*>(y), sums);
      });
  launch(stream, "outer_weight_sum_kernel", outer_weight_sum_kernel,
         grid_for(p.weight_count(), threads / warp_size), threads, p.weight_count(), blocks, sums, dw);
}

}  // namespace eelsvae::EELSVAE_GPU
