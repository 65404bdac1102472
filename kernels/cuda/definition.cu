#include "kernels/cuda/definition.h"

#include <cmath>
#include <cstdio>
#include <vector>

#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/library_versions.h"
#include "kernels/philox.h"
#include "kernels/tolerances.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

constexpr int threads = 128, warps = threads / warp_size;
// A weight's gradient is a sum over the whole image, a few of them are work enough.
constexpr int64_t result_samples = 2048, weight_samples = 128;
// So many terms of a sampled result are a warp's work: a long sum occupies many blocks.
constexpr int64_t terms_of_warp = 16384;

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

// The terms first, first + step, ... of y[element].
template <typename T>
__device__ double forward_part(const Conv3dProblem& p, const T* x, const T* w, int64_t element, int64_t first,
                               int64_t step) {
  const Position o = position_of(element, p.out(), p.out_channels);
  double sum = 0;
  for (int64_t i = first; i < p.kernel.volume() * p.in_channels; i += step) {
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

// The same of x[element].
template <typename T>
__device__ double backward_data_part(const Conv3dProblem& p, const T* y, const T* w, int64_t element,
                                     int64_t first, int64_t step) {
  const Position i = position_of(element, p.in, p.in_channels);
  const Extent3 out = p.out();
  double sum = 0;
  for (int64_t j = first; j < p.kernel.volume() * p.out_channels; j += step) {
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

// The same of w[element].
template <typename T>
__device__ double backward_weights_part(const Conv3dProblem& p, const T* x, const T* y, int64_t element,
                                        int64_t first, int64_t step) {
  const int64_t ci = element % p.in_channels, tap = element / p.in_channels % p.kernel.volume(),
                co = element / p.in_channels / p.kernel.volume();
  const Extent3 out = p.out();
  double sum = 0;
  for (int64_t place = first; place < p.batch * out.volume(); place += step) {
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

// The same of an element of what the request writes.
template <typename T>
__device__ double part_of(const ConvolutionRequest& r, const ConvolutionTensors& tensors, int64_t element,
                          int64_t first, int64_t step) {
  const T *x = static_cast<const T*>(tensors.x), *y = static_cast<const T*>(tensors.y);
  const T* w = static_cast<const T*>(tensors.w);
  if (r.pass == ConvolutionPass::forward) return forward_part(r.problem, x, w, element, first, step);
  if (r.pass == ConvolutionPass::backward_data)
    return backward_data_part(r.problem, y, w, element, first, step);
  return backward_weights_part(r.problem, x, y, element, first, step);
}
template <typename T>
__device__ double part_of(const MatrixProductRequest& r, const MatrixProductTensors& tensors, int64_t element,
                          int64_t first, int64_t step) {
  const T *a = static_cast<const T*>(tensors.a), *b = static_cast<const T*>(tensors.b);
  const int64_t row = element / r.columns, column = element % r.columns;
  double sum = 0;
  for (int64_t k = first; k < r.inner; k += step)
    sum += static_cast<double>(static_cast<float>(a[row * r.inner + k])) *
           static_cast<double>(
               static_cast<float>(b[r.transposed ? column * r.inner + k : k * r.columns + column]));
  return sum;
}

// What follows the sum of all terms.
template <typename T>
__device__ double finished(const ConvolutionRequest& r, const ConvolutionTensors& tensors, int64_t element,
                           double sum) {
  if (r.bias)
    sum += static_cast<float>(static_cast<const T*>(tensors.bias)[element % r.problem.out_channels]);
  return r.relu && sum < 0 ? 0 : sum;
}
template <typename T>
__device__ double finished(const MatrixProductRequest&, const MatrixProductTensors&, int64_t, double sum) {
  return sum;
}

template <typename T>
__device__ T* written(const ConvolutionRequest& r, const ConvolutionTensors& tensors) {
  return static_cast<T*>(r.pass == ConvolutionPass::forward         ? tensors.y
                         : r.pass == ConvolutionPass::backward_data ? tensors.x
                                                                    : tensors.w);
}
template <typename T>
__device__ const T* written(const MatrixProductRequest&, const MatrixProductTensors& tensors) {
  return static_cast<const T*>(tensors.c);
}

int64_t written_count(const ConvolutionRequest& r) {
  return r.pass == ConvolutionPass::forward         ? r.problem.y_count()
         : r.pass == ConvolutionPass::backward_data ? r.problem.x_count()
                                                    : r.problem.weight_count();
}
int64_t written_count(const MatrixProductRequest& r) {
  return r.rows * r.columns;
}
int64_t terms_of(const ConvolutionRequest& r) {
  const Conv3dProblem& p = r.problem;
  return r.pass == ConvolutionPass::forward         ? p.kernel.volume() * p.in_channels
         : r.pass == ConvolutionPass::backward_data ? p.kernel.volume() * p.out_channels
                                                    : p.batch * p.out().volume();
}
int64_t terms_of(const MatrixProductRequest& r) {
  return r.inner;
}
int64_t samples_of(const ConvolutionRequest& r) {
  return r.pass == ConvolutionPass::backward_weights ? weight_samples : result_samples;
}
int64_t samples_of(const MatrixProductRequest&) {
  return result_samples;
}

template <typename T>
__global__ void __launch_bounds__(threads)
    convolution_kernel(ConvolutionRequest r, ConvolutionTensors tensors, int64_t count) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  for (int64_t element = grid_thread() / warp_size; element < count; element += grid_threads() / warp_size) {
    const double sum = warp_sum(part_of<T>(r, tensors, element, lane, warp_size));
    if (lane == 0)
      written<T>(r, tensors)[element] =
          static_cast<T>(static_cast<float>(finished<T>(r, tensors, element, sum)));
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

// sums (samples, parts): a warp takes every parts-th 32 terms of a sampled element.
template <typename T, typename Request, typename Tensors>
__global__ void __launch_bounds__(threads) sampled_sums_kernel(Request r, Tensors tensors, int64_t count,
                                                               int64_t samples, int64_t parts, double* sums) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int64_t warp = grid_thread() / warp_size;
  if (warp >= samples * parts) return;
  const int64_t element = sampled_element(warp / parts, count), part = warp % parts;
  const double sum = warp_sum(part_of<T>(r, tensors, element, part * warp_size + lane, parts * warp_size));
  if (lane == 0) sums[warp] = sum;
}

template <typename T, typename Request, typename Tensors>
__global__ void __launch_bounds__(threads)
    sampled_differences_kernel(Request r, Tensors tensors, int64_t count, int64_t samples, int64_t parts,
                               const double* sums, Difference* differences) {
  const int64_t sample = grid_thread();
  if (sample >= samples) return;
  const int64_t element = sampled_element(sample, count);
  double sum = 0;
  for (int64_t part = 0; part < parts; ++part) sum += sums[sample * parts + part];
  const double expected = finished<T>(r, tensors, element, sum);
  const double error = static_cast<float>(written<T>(r, tensors)[element]) - expected;
  differences[sample] = {error * error, expected * expected};
}

template <typename T, typename Request, typename Tensors>
double error_of_sample(cudaStream_t stream, const Request& request, const Tensors& tensors) {
  const int64_t count = written_count(request), samples = samples_of(request),
                parts = divide_up(terms_of(request), terms_of_warp);
  std::vector<Difference> differences(static_cast<size_t>(samples));
  const size_t bytes = differences.size() * sizeof(Difference);
  const DeviceMemoryBlock sums(static_cast<size_t>(samples * parts) * sizeof(double)), memory(bytes);
  launch(stream, "sampled_sums_kernel", sampled_sums_kernel<T, Request, Tensors>,
         grid_for(samples * parts, warps), threads, request, tensors, count, samples, parts,
         static_cast<double*>(sums.data()));
  launch(stream, "sampled_differences_kernel", sampled_differences_kernel<T, Request, Tensors>,
         grid_for(samples, threads), threads, request, tensors, count, samples, parts,
         static_cast<const double*>(sums.data()), static_cast<Difference*>(memory.data()));
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

template <typename Request>
void expect_small(double error, const Request& request, const std::string& way) {
  const double limit = operation_tolerance(name_of(request.math), terms_of(request));
  if (error <= limit) return;  // false for NaN
  char text[96];
  std::snprintf(text, sizeof text, "relative error %.2g, of which %.2g could be rounding", error, limit);
  fail(way + " of " + library_versions() + " gives wrong results: " + text);
}

}  // namespace

std::unique_ptr<ConvolutionPlan> convolution_by_definition(const ConvolutionRequest& request) {
  return std::make_unique<DefinitionPlan>(request);
}

double sampled_error(cudaStream_t stream, const ConvolutionRequest& request,
                     const ConvolutionTensors& tensors) {
  return request.math == Math::bf16 ? error_of_sample<bfloat16>(stream, request, tensors)
                                    : error_of_sample<float>(stream, request, tensors);
}
double sampled_error(cudaStream_t stream, const MatrixProductRequest& request,
                     const MatrixProductTensors& tensors) {
  return request.math == Math::bf16 ? error_of_sample<bfloat16>(stream, request, tensors)
                                    : error_of_sample<float>(stream, request, tensors);
}

void expect_right(cudaStream_t stream, const ConvolutionRequest& request, const ConvolutionTensors& tensors,
                  const std::string& way) {
  expect_small(sampled_error(stream, request, tensors), request, way);
}
void expect_right(cudaStream_t stream, const MatrixProductRequest& request,
                  const MatrixProductTensors& tensors, const std::string& way) {
  expect_small(sampled_error(stream, request, tensors), request, way);
}

}  // namespace eelsvae::EELSVAE_GPU
