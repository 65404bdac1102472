#include "kernels/image_operations.h"

#include <numeric>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/sort.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

constexpr int threads = 256;

struct Unchanged {
  __device__ float operator()(float x) const { return x; }
};

// Lines of `length` samples that are `inner` values apart, one behind the other; N divides inner. What
// neighbours in a line read again they find in the caches.
template <int N, typename Map>
__global__ void __launch_bounds__(threads)
    filter_axis_kernel(int64_t count, int64_t length, int64_t inner, int radius, const float* half, Map map,
                       const float* in, float* out) {
  for (int64_t pack = grid_thread(); pack < count / N; pack += grid_threads()) {
    const int64_t at = pack * N, i = at / inner % length;
    const bool inside = i >= radius && i + radius < length;
    Pack<float, N> sum = load_pack<N>(in + at);
    const float centre = half[0];
#pragma unroll
    for (int n = 0; n < N; ++n) sum.v[n] = centre * map(sum.v[n]);
#pragma unroll 4
    for (int k = 1; k <= radius; ++k) {
      const int64_t low = inside ? -k : reflected(i - k, length) - i,
                    high = inside ? k : reflected(i + k, length) - i;
      const Pack<float, N> before = load_pack<N>(in + at + low * inner),
                           after = load_pack<N>(in + at + high * inner);
      const float weight = half[k];
#pragma unroll
      for (int n = 0; n < N; ++n) sum.v[n] = fmaf(weight, map(before.v[n]) + map(after.v[n]), sum.v[n]);
    }
    store_pack(sum, out + at);
  }
}

__global__ void __launch_bounds__(threads)
    fill_pixels_kernel(int64_t count, int64_t channels, const uint8_t* mask, float value, float* image) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads())
    if (mask[i / channels]) image[i] = value;
}

__global__ void __launch_bounds__(threads)
    scale_pixels_kernel(int64_t count, int64_t channels, const float* factors, float* image) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) image[i] *= factors[i / channels];
}

__global__ void __launch_bounds__(threads)
    map_to_shares_kernel(int64_t count, int64_t quantile_count, const double* quantiles, float* image) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads())
    image[i] = share_below(quantiles, quantile_count, static_cast<double>(image[i]));
}

__global__ void __launch_bounds__(threads)
    gather_kernel(int64_t count, const int64_t* ranks, const float* sorted, float* found) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads())
    found[i] = sorted[ranks[i]] + 0.0f;  // -0 becomes +0
}

struct Value {
  __device__ double operator()(float x) const { return static_cast<double>(x); }
};
struct SquaredDeviation {
  double mean;
  __device__ double operator()(float x) const {
    const double deviation = static_cast<double>(x) - mean;
    return deviation * deviation;
  }
};

// partial[b] = sum of term(x) over the b-th stretch of values.
template <typename Term>
__global__ void __launch_bounds__(threads)
    sum_kernel(int64_t count, int64_t channels, int64_t stretch, const float* image, const uint8_t* mask,
               Term term, double* partial) {
  const int64_t begin = blockIdx.x * stretch, end = begin + stretch < count ? begin + stretch : count;
  double sum = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += threads)
    if (!mask || !mask[i / channels]) sum += term(image[i]);
  sum = block_sum<threads>(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

void check_image(const ImageShape& shape, ConstArray image) {
  expect(shape.height > 0 && shape.width > 0 && shape.channels > 0 && image.count == shape.count(),
         "an image does not have its shape");
}

template <typename T>
void copy(cudaStream_t stream, const T* from, T* to, size_t count, cudaMemcpyKind kind) {
  check(cudaMemcpyAsync(to, from, count * sizeof(T), kind, stream), "cudaMemcpyAsync");
  check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
}

template <typename Term>
double sum_of(const CudaBackend& backend, const ImageShape& shape, ConstArray image, const uint8_t* mask,
              Term term) {
  check_image(shape, image);
  constexpr int64_t least = 1 << 14, most_stretches = 1 << 16;
  const int64_t stretch = std::max(least, divide_up(image.count, most_stretches)),
                stretches = divide_up(image.count, stretch);
  double* partial = backend.partial_results<double>(stretches);
  launch(backend.stream(), "sum_kernel", sum_kernel<Term>, stretches, threads, image.count, shape.channels,
         stretch, image.as<float>(), mask, term, partial);
  std::vector<double> sums(static_cast<size_t>(stretches));
  copy(backend.stream(), partial, sums.data(), sums.size(), cudaMemcpyDeviceToHost);
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace

void CudaBackend::filter_axis(const ImageShape& shape, ImageAxis axis, std::span<const float> half,
                              const std::optional<LinearMap>& map, ConstArray in, Array out) {
  check_image(shape, in);
  check_image(shape, out);
  expect(!half.empty() && in.data != out.data, "a filter needs weights and two arrays");
  float* weights = partial_results<float>(std::ssize(half));
  copy(stream_, half.data(), weights, half.size(), cudaMemcpyHostToDevice);
  const int64_t length = axis == ImageAxis::y   ? shape.height
                         : axis == ImageAxis::x ? shape.width
                                                : shape.channels,
                inner = axis == ImageAxis::y   ? shape.width * shape.channels
                        : axis == ImageAxis::x ? shape.channels
                                               : 1;
  const auto radius = static_cast<int>(half.size()) - 1;
  auto with_map = [&]<int N, typename Map>(std::integral_constant<int, N>, Map m) {
    launch(stream_, "filter_axis_kernel", filter_axis_kernel<N, Map>, grid_for(in.count / N, threads),
           threads, in.count, length, inner, radius, static_cast<const float*>(weights), m, in.as<float>(),
           out.as<float>());
  };
  auto with_packs = [&](auto n) {
    if (map)
      with_map(n, *map);
    else
      with_map(n, Unchanged{});
  };
  if (inner % widest<float> == 0)
    with_packs(std::integral_constant<int, widest<float>>{});
  else
    with_packs(std::integral_constant<int, 1>{});
}

void CudaBackend::fill_pixels(const ImageShape& shape, const uint8_t* mask, float value, Array image) {
  check_image(shape, image);
  launch(stream_, "fill_pixels_kernel", fill_pixels_kernel, grid_for(image.count, threads), threads,
         image.count, shape.channels, mask, value, image.as<float>());
}

void CudaBackend::scale_pixels(const ImageShape& shape, ConstArray factors, Array image) {
  check_image(shape, image);
  expect(factors.count == shape.pixels(), "scale_pixels: a factor for each pixel");
  launch(stream_, "scale_pixels_kernel", scale_pixels_kernel, grid_for(image.count, threads), threads,
         image.count, shape.channels, factors.as<float>(), image.as<float>());
}

void CudaBackend::map_to_shares(ConstArray quantiles, Array image) {
  expect(quantiles.count >= 2, "map_to_shares: at least two quantiles");
  launch(stream_, "map_to_shares_kernel", map_to_shares_kernel, grid_for(image.count, threads), threads,
         image.count, quantiles.count, quantiles.as<double>(), image.as<float>());
}

std::vector<float> CudaBackend::order_statistics(ConstArray values, std::span<const int64_t> ranks,
                                                 Array sorted) {
  expect(sorted.count == values.count && sorted.data != values.data, "order_statistics: wrong scratch");
  for (const int64_t rank : ranks)
    expect(rank >= 0 && rank < values.count, "order_statistics: a rank beyond the values");
  std::vector<float> found(ranks.size());
  if (ranks.empty()) return found;
  sort_values(stream_, values.count, values.as<float>(), sorted.as<float>());
  const DeviceMemoryBlock places(ranks.size_bytes()), results(found.size() * sizeof(float));
  copy(stream_, ranks.data(), static_cast<int64_t*>(places.data()), ranks.size(), cudaMemcpyHostToDevice);
  launch(stream_, "gather_kernel", gather_kernel, grid_for(std::ssize(ranks), threads), threads,
         std::ssize(ranks), static_cast<const int64_t*>(places.data()),
         static_cast<const float*>(sorted.as<float>()), static_cast<float*>(results.data()));
  copy(stream_, static_cast<const float*>(results.data()), found.data(), found.size(),
       cudaMemcpyDeviceToHost);
  return found;
}

double CudaBackend::sum(const ImageShape& shape, ConstArray image, const uint8_t* mask) {
  return sum_of(*this, shape, image, mask, Value{});
}
double CudaBackend::squared_deviations(const ImageShape& shape, ConstArray image, const uint8_t* mask,
                                       double mean) {
  return sum_of(*this, shape, image, mask, SquaredDeviation{mean});
}

}  // namespace eelsvae::EELSVAE_GPU
