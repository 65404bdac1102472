// In place of cuDNN and cuBLASLt on the emulated device: plain loops in the libraries' precision.
#include <algorithm>
#include <cmath>

#include "kernels/cuda/convolution_plan.h"
#include "kernels/cuda/library_versions.h"
#include "kernels/cuda/matrix_product.h"
#include "kernels/storage_type.h"

namespace eelsvae::emulated {
namespace {

using emulated_device::enqueue;

// A factor as the tensor cores take it: tf32 keeps 10 bits of the fraction.
template <typename T>
double factor(T value, Math math) {
  const float wide = static_cast<float>(value);
  if (math != Math::tf32) return wide;
  return std::bit_cast<float>((std::bit_cast<uint32_t>(wide) + 0x1000u) & ~0x1fffu);
}

// Calls f(output position, input position, kernel position) for every pair that a convolution connects,
// positions counted without channels; f gets the batch's offset in both.
template <typename F>
void for_taps(const Conv3dProblem& p, int64_t n, int64_t oh, F&& f) {
  const Extent3 out = p.out();
  for (int64_t kh = 0; kh < p.kernel.h; ++kh) {
    const int64_t h = oh * p.stride.h + kh - p.padding.h;
    if (h < 0 || h >= p.in.h) continue;
    for (int64_t ow = 0; ow < out.w; ++ow)
      for (int64_t kw = 0; kw < p.kernel.w; ++kw) {
        const int64_t w = ow * p.stride.w + kw - p.padding.w;
        if (w < 0 || w >= p.in.w) continue;
        for (int64_t oe = 0; oe < out.e; ++oe)
          for (int64_t ke = 0; ke < p.kernel.e; ++ke) {
            const int64_t e = oe * p.stride.e + ke - p.padding.e;
            if (e < 0 || e >= p.in.e) continue;
            f(((n * out.h + oh) * out.w + ow) * out.e + oe, ((n * p.in.h + h) * p.in.w + w) * p.in.e + e,
              (kh * p.kernel.w + kw) * p.kernel.e + ke);
          }
      }
  }
}

template <typename T>
void convolve(const ConvolutionRequest& r, const ConvolutionTensors& tensors) {
  const Conv3dProblem& p = r.problem;
  const int64_t ic = p.in_channels, oc = p.out_channels, taps = p.kernel.volume();
  T *x = static_cast<T*>(tensors.x), *y = static_cast<T*>(tensors.y);
  const T* w = static_cast<const T*>(tensors.w);
  const T* bias = static_cast<const T*>(tensors.bias);
  std::vector<double> sum(static_cast<size_t>(r.pass == ConvolutionPass::forward         ? p.y_count()
                                              : r.pass == ConvolutionPass::backward_data ? p.x_count()
                                                                                         : p.weight_count()));
  for (int64_t n = 0; n < p.batch; ++n)
    for (int64_t oh = 0; oh < p.out().h; ++oh)
      for_taps(p, n, oh, [&](int64_t o, int64_t i, int64_t k) {
        for (int64_t co = 0; co < oc; ++co)
          for (int64_t ci = 0; ci < ic; ++ci) {
            const int64_t at_x = i * ic + ci, at_y = o * oc + co, at_w = (co * taps + k) * ic + ci;
            if (r.pass == ConvolutionPass::forward)
              sum[static_cast<size_t>(at_y)] += factor(x[at_x], r.math) * factor(w[at_w], r.math);
            if (r.pass == ConvolutionPass::backward_data)
              sum[static_cast<size_t>(at_x)] += factor(y[at_y], r.math) * factor(w[at_w], r.math);
            if (r.pass == ConvolutionPass::backward_weights)
              sum[static_cast<size_t>(at_w)] += factor(x[at_x], r.math) * factor(y[at_y], r.math);
          }
      });
  for (size_t i = 0; i < sum.size(); ++i) {
    if (r.pass == ConvolutionPass::backward_weights) {
      static_cast<T*>(tensors.w)[i] = static_cast<T>(static_cast<float>(sum[i]));
      continue;
    }
    double value = sum[i];
    if (r.bias) value += bias[i % static_cast<size_t>(oc)];
    if (r.relu) value = std::max(0.0, value);
    (r.pass == ConvolutionPass::forward ? y : x)[i] = static_cast<T>(static_cast<float>(value));
  }
}

class EmulatedConvolution final : public ConvolutionPlan {
 public:
  explicit EmulatedConvolution(const ConvolutionRequest& request) : request_(request) {}
  std::string name() const override { return "emulated"; }
  size_t workspace_bytes() const override { return 0; }
  void run(cudaStream_t stream, const ConvolutionTensors& tensors, void*) const override {
    check(enqueue(stream, {tensors.x, tensors.w, tensors.bias, tensors.y},
                  [r = request_, tensors] {
                    with_storage_type(storage_of(r.math), [&]<typename T>(T) { convolve<T>(r, tensors); });
                  }),
          "convolution");
  }

 private:
  ConvolutionRequest request_;
};

class EmulatedProduct final : public MatrixProduct {
 public:
  explicit EmulatedProduct(const MatrixProductRequest& request) : request_(request) {}
  std::string name() const override { return "emulated"; }
  size_t workspace_bytes() const override { return 0; }
  void run(cudaStream_t stream, const void* a, const void* b, void* c, void*) const override {
    auto multiply = [r = request_, a, b, c] {
      with_storage_type(storage_of(r.math), [&]<typename T>(T) {
        const T *pa = static_cast<const T*>(a), *pb = static_cast<const T*>(b);
        for (int64_t i = 0; i < r.rows; ++i)
          for (int64_t j = 0; j < r.columns; ++j) {
            double sum = 0;
            for (int64_t k = 0; k < r.inner; ++k)
              sum += factor(pa[i * r.inner + k], r.math) *
                     factor(pb[r.transposed ? j * r.inner + k : k * r.columns + j], r.math);
            static_cast<T*>(c)[i * r.columns + j] = static_cast<T>(static_cast<float>(sum));
          }
      });
    };
    check(enqueue(stream, {a, b, c}, multiply), "matrix product");
  }

 private:
  MatrixProductRequest request_;
};

}  // namespace

std::vector<std::unique_ptr<ConvolutionPlan>> convolution_plans(const ConvolutionRequest& request,
                                                                const DeviceProperties&, size_t) {
  std::vector<std::unique_ptr<ConvolutionPlan>> plans;
  // As cuDNN has nothing in bf16 for some channel counts that suit no tensor core.
  if (request.math == Math::bf16 && request.problem.in_channels * request.problem.out_channels % 2 == 1)
    return plans;
  plans.push_back(std::make_unique<EmulatedConvolution>(request));
  return plans;
}

std::vector<std::unique_ptr<MatrixProduct>> matrix_products(const MatrixProductRequest& request, size_t) {
  std::vector<std::unique_ptr<MatrixProduct>> products;
  products.push_back(std::make_unique<EmulatedProduct>(request));
  return products;
}

std::string library_versions() {
  return "no CUDA libraries";
}

}  // namespace eelsvae::emulated
