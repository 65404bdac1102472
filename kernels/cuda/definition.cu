#include "kernels/cuda/definition.h"

#include <cmath>
#include <vector>

#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/library_versions.h"
#include "kernels/philox.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

constexpr int threads = 128, warps = threads / warp_size;
// A weight's gradient is a sum over the whole image, a few of them are work enough.
constexpr int64_t result_samples = 2048, weight_samples = 128;

struct Difference {
  double squared_error, squared_expected;
};

// A sample's element among `count`, spread over all of them.
__device__ int64_t sampled_element(int64_t sample, int64_t count) {
  const Philox4 r = philox(1, static_cast<uint64_t>(sample), 0);
  return static_cast<int64_t>(((static_cast<uint64_t>(r.v[0]) << 32) | r.v[1]) %
                              static_cast<uint64_t>(count));
}

struct Position {
  int64_t n, h, w, e, channel;
};
__device__ Position position_of(int64_t element, Extent3 extent, int64_t channels) {
  const int64_t channel = element % channels, place = element / channels;
  const int64_t e = place % extent.e, line = place / extent.e;
  const int64_t w = line % extent.w, plane = line / extent.w;
  return {plane / extent.h, plane % extent.h, w, e, channel};
}
__device__ int64_t offset_of(const Position& p, Extent3 extent, int64_t channels) {
  return (((p.n * extent.h + p.h) * extent.w + p.w) * extent.e + p.e) * channels + p.channel;
}

// Where an output lies that input i reaches through tap k: o * stride + k - padding = i; -1 if there is none.
__device__ int64_t output_through(int64_t i, int64_t k, int64_t stride, int64_t padding, int64_t outputs) {
  const int64_t scaled = i + padding - k;
  if (scaled < 0 || scaled % stride != 0) return -1;
  return scaled / stride < outputs ? scaled / stride : -1;
}

// The lane's part of y[element].
template <typename T>
__device__ double forward_part(const Conv3dProblem& p, const T* x, const T* w, int64_t element, int lane) {
  const Position o = position_of(element, p.out(), p.out_channels);
  double sum = 0;
  for (int64_t i = lane; i < p.kernel.volume() * p.in_channels; i += warp_size) {
    const int64_t tap = i / p.in_channels;
    const Position at = {o.n, o.h * p.stride.h + tap / p.kernel.e / p.kernel.w - p.padding.h,
                         o.w * p.stride.w + tap / p.kernel.e % p.kernel.w - p.padding.w,
                         o.e * p.stride.e + tap % p.kernel.e - p.padding.e, i % p.in_channels};
    if (at.h < 0 || at.h >= p.in.h || at.w < 0 || at.w >= p.in.w || at.e < 0 || at.e >= p.in.e) continue;
    sum += static_cast<double>(static_cast<float>(x[offset_of(at, p.in, p.in_channels)])) *
           static_cast<double>(static_cast<float>(w[o.channel * p.kernel.volume() * p.in_channels + i]));
  }
  return sum;
}

// The lane's part of x[element].
template <typename T>
__device__ double backward_data_part(const Conv3dProblem& p, const T* y, const T* w, int64_t element,
                                     int lane) {
  const Position i = position_of(element, p.in, p.in_channels);
  const Extent3 out = p.out();
  double sum = 0;
  for (int64_t j = lane; j < p.kernel.volume() * p.out_channels; j += warp_size) {
    const int64_t tap = j / p.out_channels, channel = j % p.out_channels;
    const Position at = {i.n,
                         output_through(i.h, tap / p.kernel.e / p.kernel.w, p.stride.h, p.padding.h, out.h),
                         output_through(i.w, tap / p.kernel.e % p.kernel.w, p.stride.w, p.padding.w, out.w),
                         output_through(i.e, tap % p.kernel.e, p.stride.e, p.padding.e, out.e), channel};
    if (at.h < 0 || at.w < 0 || at.e < 0) continue;
    sum += static_cast<double>(static_cast<float>(y[offset_of(at, out, p.out_channels)])) *
           static_cast<double>(
               static_cast<float>(w[(channel * p.kernel.volume() + tap) * p.in_channels + i.channel]));
  }
  return sum;
}

// The lane's part of w[element].
template <typename T>
__device__ double backward_weights_part(const Conv3dProblem& p, const T* x, const T* y, int64_t element,
                                        int lane) {
  const int64_t ci = element % p.in_channels, tap = element / p.in_channels % p.kernel.volume(),
                co = element / p.in_channels / p.kernel.volume();
  const Extent3 out = p.out();
  double sum = 0;
  for (int64_t place = lane; place < p.batch * out.volume(); place += warp_size) {
    const Position o = position_of(place * p.out_channels + co, out, p.out_channels);
    const Position i = {o.n, o.h * p.stride.h + tap / p.kernel.e / p.kernel.w - p.padding.h,
                        o.w * p.stride.w + tap / p.kernel.e % p.kernel.w - p.padding.w,
                        o.e * p.stride.e + tap % p.kernel.e - p.padding.e, ci};
    if (i.h < 0 || i.h >= p.in.h || i.w < 0 || i.w >= p.in.w || i.e < 0 || i.e >= p.in.e) continue;
    sum += static_cast<double>(static_cast<float>(y[place * p.out_channels + co])) *
           static_cast<double>(static_cast<float>(x[offset_of(i, p.in, p.in_channels)]));
  }
  return sum;
}

// The element of what the request writes, by a warp; every lane gets it.
template <typename T>
__device__ double result_by_definition(const ConvolutionRequest& r, const ConvolutionTensors& tensors,
                                       int64_t element, int lane) {
  const T *x = static_cast<const T*>(tensors.x), *y = static_cast<const T*>(tensors.y);
  const T* w = static_cast<const T*>(tensors.w);
  double part = 0;
  if (r.pass == ConvolutionPass::forward)
    part = forward_part(r.problem, x, w, element, lane);
  else if (r.pass == ConvolutionPass::backward_data)
    part = backward_data_part(r.problem, y, w, element, lane);
  else
    part = backward_weights_part(r.problem, x, y, element, lane);
  double result = warp_sum(part);
  if (r.bias)
    result += static_cast<float>(static_cast<const T*>(tensors.bias)[element % r.problem.out_channels]);
  return r.relu && result < 0 ? 0 : result;
}
template <typename T>
__device__ T* written(const ConvolutionRequest& r, const ConvolutionTensors& tensors) {
  return static_cast<T*>(r.pass == ConvolutionPass::forward         ? tensors.y
                         : r.pass == ConvolutionPass::backward_data ? tensors.x
                                                                    : tensors.w);
}
int64_t written_count(const ConvolutionRequest& r) {
  return r.pass == ConvolutionPass::forward         ? r.problem.y_count()
         : r.pass == ConvolutionPass::backward_data ? r.problem.x_count()
                                                    : r.problem.weight_count();
}

template <typename T>
__global__ void __launch_bounds__(threads)
    convolution_kernel(ConvolutionRequest r, ConvolutionTensors tensors, int64_t count) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  for (int64_t element = grid_thread() / warp_size; element < count; element += grid_threads() / warp_size) {
    const double result = result_by_definition<T>(r, tensors, element, lane);
    if (lane == 0) written<T>(r, tensors)[element] = static_cast<T>(static_cast<float>(result));
  }
}

class DefinitionPlan final : public ConvolutionPlan {
 public:
  explicit DefinitionPlan(const ConvolutionRequest& request) : request_(request) {}
  std::string name() const override { return "by definition"; }
  size_t workspace_bytes() const override { return 0; }
  void run(cudaStream_t stream, const ConvolutionTensors& tensors, void*) const override {
    const int64_t count = written_count(request_);
    launch(stream, "convolution_kernel",
           request_.math == Math::bf16 ? convolution_kernel<bfloat16> : convolution_kernel<float>,
           grid_for(count, warps), threads, request_, tensors, count);
  }

 private:
  ConvolutionRequest request_;
};

__device__ void store_difference(double expected, double actual, Difference* difference) {
  const double error = actual - expected;
  *difference = {error * error, expected * expected};
}

template <typename T>
__global__ void __launch_bounds__(threads)
    sampled_convolution_kernel(ConvolutionRequest r, ConvolutionTensors tensors, int64_t samples,
                               int64_t count, Difference* differences) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int64_t sample = grid_thread() / warp_size;
  if (sample >= samples) return;
  const int64_t element = sampled_element(sample, count);
  const double expected = result_by_definition<T>(r, tensors, element, lane);
  if (lane == 0)
    store_difference(expected, static_cast<float>(written<T>(r, tensors)[element]), differences + sample);
}

template <typename T>
__global__ void __launch_bounds__(threads)
    sampled_product_kernel(MatrixProductRequest r, const T* a, const T* b, const T* c, int64_t samples,
                           Difference* differences) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int64_t sample = grid_thread() / warp_size;
  if (sample >= samples) return;
  const int64_t element = sampled_element(sample, r.rows * r.columns);
  const int64_t row = element / r.columns, column = element % r.columns;
  double part = 0;
  for (int64_t k = lane; k < r.inner; k += warp_size)
    part += static_cast<double>(static_cast<float>(a[row * r.inner + k])) *
            static_cast<double>(
                static_cast<float>(b[r.transposed ? column * r.inner + k : k * r.columns + column]));
  const double expected = warp_sum(part);
  if (lane == 0) store_difference(expected, static_cast<float>(c[element]), differences + sample);
}

// queue(differences) launches the kernel that fills them.
template <typename F>
double relative_error(cudaStream_t stream, int64_t samples, F&& queue) {
  std::vector<Difference> differences(static_cast<size_t>(samples));
  const size_t bytes = differences.size() * sizeof(Difference);
  DeviceMemoryBlock memory(bytes);
  queue(static_cast<Difference*>(memory.data()));
  check(cudaMemcpyAsync(differences.data(), memory.data(), bytes, cudaMemcpyDeviceToHost, stream),
        "cudaMemcpyAsync");
  check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  double error = 0, expected = 0;
  for (const Difference& d : differences) {
    error += d.squared_error;
    expected += d.squared_expected;
  }
  return std::sqrt(error / expected);
}

}  // namespace

std::unique_ptr<ConvolutionPlan> convolution_by_definition(const ConvolutionRequest& request) {
  return std::make_unique<DefinitionPlan>(request);
}

double sampled_error(cudaStream_t stream, const ConvolutionRequest& request,
                     const ConvolutionTensors& tensors) {
  const int64_t samples = request.pass == ConvolutionPass::backward_weights ? weight_samples : result_samples;
  return relative_error(stream, samples, [&](Difference* differences) {
    launch(
        stream, "sampled_convolution_kernel",
        request.math == Math::bf16 ? sampled_convolution_kernel<bfloat16> : sampled_convolution_kernel<float>,
        grid_for(samples, warps), threads, request, tensors, samples, written_count(request), differences);
  });
}

double sampled_error(cudaStream_t stream, const MatrixProductRequest& request, const void* a, const void* b,
                     const void* c) {
  return relative_error(stream, result_samples, [&](Difference* differences) {
    auto queue = [&]<typename T>(T) {
      launch(stream, "sampled_product_kernel", sampled_product_kernel<T>, grid_for(result_samples, warps),
             threads, request, static_cast<const T*>(a), static_cast<const T*>(b), static_cast<const T*>(c),
             result_samples, differences);
    };
    if (request.math == Math::bf16)
      queue(bfloat16{});
    else
      queue(float{});
  });
}

void expect_small(double error, Math math, const std::string& way) {
  // Sums over the whole image lose a few hundred roundoffs of f32; tf32 factors and bf16 results are off by
  // one roundoff each. What is wrong is off by a large part.
  const double limit = math == Math::fp32 ? 1e-4 : math == Math::tf32 ? 5e-3 : 2e-2;
  if (error <= limit) return;  // false for NaN
  char text[64];
  std::snprintf(text, sizeof text, "%.2g", error);
  fail(way + " of " + library_versions() + " gives wrong results: relative error " + text);
}

}  // namespace eelsvae::EELSVAE_GPU
