#include "kernels/image_operations.h"

#include <cstring>
#include <limits>
#include <numeric>

#include "kernels/backend_memory.h"
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

// Images go to the device and back through page-locked slots of this size: the bus is crossed while the
// processor fills the next slot, at several times the rate of a copy from ordinary memory.
constexpr size_t largest_slot = size_t{4} << 20;

size_t bytes_of(const ImageShape& shape) {
  return static_cast<size_t>(shape.count()) * sizeof(float);
}
size_t slot_bytes(const ImageShape& shape) {
  return std::min(bytes_of(shape), largest_slot);
}
// Slots are copied whole, so that an image on the device fills a whole number of them.
size_t padded_bytes(const ImageShape& shape) {
  const size_t slot = slot_bytes(shape);
  return (bytes_of(shape) + slot - 1) / slot * slot;
}

void parallel_copy(void* to, const void* from, size_t bytes) {
  const auto pieces = static_cast<int64_t>((bytes >> 16) + 1);
#pragma omp parallel for schedule(static)
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const size_t begin = bytes * static_cast<size_t>(piece) / static_cast<size_t>(pieces),
                 end = bytes * static_cast<size_t>(piece + 1) / static_cast<size_t>(pieces);
    std::memcpy(static_cast<char*>(to) + begin, static_cast<const char*>(from) + begin, end - begin);
  }
}

// In the device's memory, with as much again to filter into: the image crosses the bus once in each
// direction. The steps run once per image: they may take memory, and those with a result wait for it.
class CudaImage final : public DeviceImage {
 public:
  CudaImage(CudaBackend& backend, const ImageShape& shape, float* counts, const uint8_t* excluded)
      : DeviceImage(shape, counts, excluded),
        backend_(backend),
        first_(backend, padded_bytes(shape)),
        second_(backend, padded_bytes(shape)),
        mask_(backend, any_excluded() ? static_cast<size_t>(shape.pixels()) : 0),
        current_(static_cast<float*>(first_.data())),
        other_(static_cast<float*>(second_.data())) {
    if (any_excluded()) backend.upload(excluded, mask_.data(), static_cast<size_t>(shape.pixels()));
    const size_t slot = slot_bytes(shape), bytes = bytes_of(shape);
    const BackendMemory staging(backend, backend.staging_bytes(slot));
    const std::unique_ptr<Feed> feed = backend.make_feed(slot, staging.data());
    for (size_t at = 0; at < bytes; at += slot) {
      parallel_copy(feed->slot(), reinterpret_cast<const char*>(counts) + at, std::min(slot, bytes - at));
      feed->submit(reinterpret_cast<char*>(current_) + at);
    }
    backend.synchronize();
  }

  void filter(std::span<const float> half, std::span<const float> half_of_channels,
              const std::optional<LinearMap>& map) override {
    fill_excluded(map ? map->zero : 0);
    filter_axis(shape_.height, shape_.width * shape_.channels, half, map);
    filter_axis(shape_.width, shape_.channels, half, std::nullopt);
    if (!half_of_channels.empty()) filter_axis(shape_.channels, 1, half_of_channels, std::nullopt);
    if (!any_excluded()) return;
    const std::vector<float> factors = normalizing_factors(shape_.height, shape_.width, excluded_, half);
    const BackendMemory copies(backend_, factors.size() * sizeof(float));
    launch("scale_pixels_kernel", scale_pixels_kernel, shape_.count(), shape_.channels,
           to_device(std::span(factors), copies.data()), current_);
  }

  void map_to_shares(std::span<const double> quantiles) override {
    expect(quantiles.size() >= 2, "map_to_shares: at least two quantiles");
    launch("map_to_shares_kernel", map_to_shares_kernel, shape_.count(), std::ssize(quantiles),
           to_device(quantiles, backend_.partial_results<double>(std::ssize(quantiles))), current_);
  }

  // Larger than any count, those of excluded pixels take the ranks behind the others.
  std::vector<float> order_statistics(std::span<const int64_t> ranks) override {
    for (const int64_t rank : ranks)
      expect(rank >= 0 && rank < count(), "order_statistics: a rank beyond the counts");
    std::vector<float> found(ranks.size());
    fill_excluded(std::numeric_limits<float>::infinity());
    sort_values(backend_.stream(), shape_.count(), current_, other_);
    const BackendMemory places(backend_, ranks.size_bytes()), results(backend_, found.size() * sizeof(float));
    launch("gather_kernel", gather_kernel, std::ssize(ranks), to_device(ranks, places.data()),
           static_cast<const float*>(other_), static_cast<float*>(results.data()));
    backend_.download(results.data(), found.data(), found.size() * sizeof(float));
    return found;
  }
  double sum() override { return sum_of(Value{}); }
  double squared_deviations(double mean) override { return sum_of(SquaredDeviation{mean}); }

  void finish() override {
    const size_t slot = slot_bytes(shape_), bytes = bytes_of(shape_);
    const BackendMemory staging(backend_, backend_.staging_bytes(slot));
    const std::unique_ptr<Drain> drain = backend_.make_drain(slot, staging.data());
    size_t submitted = 0;
    for (size_t at = 0; at < bytes; at += slot) {
      for (; submitted < bytes && submitted < at + 2 * slot; submitted += slot)
        drain->submit(reinterpret_cast<const char*>(current_) + submitted);
      parallel_copy(reinterpret_cast<char*>(counts_) + at, drain->wait(), std::min(slot, bytes - at));
    }
  }

 private:
  // A kernel that goes through `count` things.
  template <typename... Parameters, typename... Arguments>
  void launch(const char* name, void (*kernel)(int64_t, Parameters...), int64_t count,
              Arguments... arguments) const {
    EELSVAE_GPU::launch(backend_.stream(), name, kernel, grid_for(count, threads), threads, count,
                        arguments...);
  }
  template <typename T>
  const T* to_device(std::span<const T> values, void* place) {
    backend_.upload(values.data(), place, values.size_bytes());
    return static_cast<const T*>(place);
  }
  const uint8_t* mask() const { return any_excluded() ? static_cast<const uint8_t*>(mask_.data()) : nullptr; }

  void fill_excluded(float value) {
    if (any_excluded())
      launch("fill_pixels_kernel", fill_pixels_kernel, shape_.count(), shape_.channels, mask(), value,
             current_);
  }

  // Along the axis of `length` samples that are `inner` values apart.
  void filter_axis(int64_t length, int64_t inner, std::span<const float> half,
                   const std::optional<LinearMap>& map) {
    if (half.size() == 1 && half[0] == 1 && !map) return;
    const float* weights = to_device(half, backend_.partial_results<float>(std::ssize(half)));
    const auto radius = static_cast<int>(half.size()) - 1;
    auto with_map = [&]<int N, typename Map>(std::integral_constant<int, N>, Map m) {
      const int64_t count = shape_.count();
      EELSVAE_GPU::launch(backend_.stream(), "filter_axis_kernel", filter_axis_kernel<N, Map>,
                          grid_for(count / N, threads), threads, count, length, inner, radius, weights, m,
                          static_cast<const float*>(current_), other_);
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
    std::swap(current_, other_);
  }

  template <typename Term>
  double sum_of(Term term) const {
    constexpr int64_t least = 1 << 14, most_stretches = 1 << 16;
    const int64_t count = shape_.count(), stretch = std::max(least, divide_up(count, most_stretches)),
                  stretches = divide_up(count, stretch);
    double* partial = backend_.partial_results<double>(stretches);
    EELSVAE_GPU::launch(backend_.stream(), "sum_kernel", sum_kernel<Term>, stretches, threads, count,
                        shape_.channels, stretch, static_cast<const float*>(current_), mask(), term, partial);
    std::vector<double> sums(static_cast<size_t>(stretches));
    backend_.download(partial, sums.data(), sums.size() * sizeof(double));
    return std::accumulate(sums.begin(), sums.end(), 0.0);
  }

  CudaBackend& backend_;
  BackendMemory first_, second_, mask_;
  float *current_, *other_;
};

}  // namespace

std::unique_ptr<DeviceImage> CudaBackend::take_image(const ImageShape& shape, float* counts,
                                                     const uint8_t* excluded) {
  use_device();
  return std::make_unique<CudaImage>(*this, shape, counts, excluded);
}

size_t CudaBackend::image_bytes(const ImageShape& shape) const {
  // Sorting takes an image's size beside the two; the rest is for the ways to the device and for small
  // arrays.
  return 3 * padded_bytes(shape) + static_cast<size_t>(shape.pixels()) * 8 + (size_t{64} << 20);
}

}  // namespace eelsvae::EELSVAE_GPU
