#include "kernels/conv3d.h"

#include <algorithm>
#include <utility>

#include "kernels/reference/reference_backend.h"

namespace eelsvae {
namespace {

// Flat indices of the three arrays of a problem.
struct Indices {
  Conv3dProblem p;
  Extent3 out = p.out();

  int64_t x(int64_t n, int64_t h, int64_t w, int64_t e, int64_t ic) const {
    return (((n * p.in.h + h) * p.in.w + w) * p.in.e + e) * p.in_channels + ic;
  }
  int64_t y(int64_t n, int64_t h, int64_t w, int64_t e, int64_t oc) const {
    return (((n * out.h + h) * out.w + w) * out.e + e) * p.out_channels + oc;
  }
  int64_t w(int64_t oc, int64_t kh, int64_t kw, int64_t ke, int64_t ic) const {
    return (((oc * p.kernel.h + kh) * p.kernel.w + kw) * p.kernel.e + ke) * p.in_channels + ic;
  }
};

// The outputs o along one axis with o * stride + k - padding inside the input: first <= o < last.
struct Range {
  int64_t first, last;
};
Range outputs_reaching(int64_t in, int64_t out, int64_t k, int64_t stride, int64_t padding) {
  Range range{out, 0};
  for (int64_t o = 0; o < out; ++o) {
    int64_t i = o * stride + k - padding;
    if (i < 0 || i >= in) continue;
    range.first = std::min(range.first, o);
    range.last = o + 1;
  }
  return range;
}

// Calls visit(oh, ow, oe, ih, iw, ie) for every output position and the input position that the tap (kh, kw,
// ke) pairs it with.
template <typename Visit>
void for_each_pair(const Conv3dProblem& p, int64_t kh, int64_t kw, int64_t ke, Visit visit) {
  Extent3 out = p.out();
  Range h = outputs_reaching(p.in.h, out.h, kh, p.stride.h, p.padding.h);
  Range w = outputs_reaching(p.in.w, out.w, kw, p.stride.w, p.padding.w);
  Range e = outputs_reaching(p.in.e, out.e, ke, p.stride.e, p.padding.e);
  for (int64_t oh = h.first; oh < h.last; ++oh)
    for (int64_t ow = w.first; ow < w.last; ++ow)
      for (int64_t oe = e.first; oe < e.last; ++oe)
        visit(oh, ow, oe, oh * p.stride.h + kh - p.padding.h, ow * p.stride.w + kw - p.padding.w,
              oe * p.stride.e + ke - p.padding.e);
}

template <typename Visit>
void for_each_tap(const Conv3dProblem& p, Visit visit) {
  for (int64_t kh = 0; kh < p.kernel.h; ++kh)
    for (int64_t kw = 0; kw < p.kernel.w; ++kw)
      for (int64_t ke = 0; ke < p.kernel.e; ++ke) visit(kh, kw, ke);
}

// y[n, o, oc] = sum over k, ic of x[n, o * stride + k - padding, ic] w[oc, k, ic]
void convolve(const Conv3dProblem& p, const double* x, const double* w, double* y) {
  Indices at{p};
  std::fill_n(y, p.y_count(), 0.0);
#pragma omp parallel for collapse(2)
  for (int64_t n = 0; n < p.batch; ++n)
    for (int64_t oc = 0; oc < p.out_channels; ++oc)
      for_each_tap(p, [&](int64_t kh, int64_t kw, int64_t ke) {
        for_each_pair(p, kh, kw, ke,
                      [&](int64_t oh, int64_t ow, int64_t oe, int64_t ih, int64_t iw, int64_t ie) {
                        double sum = 0;
                        for (int64_t ic = 0; ic < p.in_channels; ++ic)
                          sum += x[at.x(n, ih, iw, ie, ic)] * w[at.w(oc, kh, kw, ke, ic)];
                        y[at.y(n, oh, ow, oe, oc)] += sum;
                      });
      });
}

// The adjoint in x: x[n, i, ic] = sum over oc and over o, k with o * stride + k - padding = i of
// y[n, o, oc] w[oc, k, ic]
void convolve_adjoint(const Conv3dProblem& p, const double* y, const double* w, double* x) {
  Indices at{p};
  std::fill_n(x, p.x_count(), 0.0);
#pragma omp parallel for collapse(2)
  for (int64_t n = 0; n < p.batch; ++n)
    for (int64_t ic = 0; ic < p.in_channels; ++ic)
      for_each_tap(p, [&](int64_t kh, int64_t kw, int64_t ke) {
        for_each_pair(p, kh, kw, ke,
                      [&](int64_t oh, int64_t ow, int64_t oe, int64_t ih, int64_t iw, int64_t ie) {
                        double sum = 0;
                        for (int64_t oc = 0; oc < p.out_channels; ++oc)
                          sum += y[at.y(n, oh, ow, oe, oc)] * w[at.w(oc, kh, kw, ke, ic)];
                        x[at.x(n, ih, iw, ie, ic)] += sum;
                      });
      });
}

// The adjoint in w: w[oc, k, ic] = sum over n, o of y[n, o, oc] x[n, o * stride + k - padding, ic]
void correlate(const Conv3dProblem& p, const double* x, const double* y, double* w) {
  Indices at{p};
#pragma omp parallel for
  for (int64_t oc = 0; oc < p.out_channels; ++oc)
    for_each_tap(p, [&](int64_t kh, int64_t kw, int64_t ke) {
      for (int64_t ic = 0; ic < p.in_channels; ++ic) {
        double sum = 0;
        for (int64_t n = 0; n < p.batch; ++n)
          for_each_pair(p, kh, kw, ke,
                        [&](int64_t oh, int64_t ow, int64_t oe, int64_t ih, int64_t iw, int64_t ie) {
                          sum += y[at.y(n, oh, ow, oe, oc)] * x[at.x(n, ih, iw, ie, ic)];
                        });
        w[at.w(oc, kh, kw, ke, ic)] = sum;
      }
    });
}

void add_bias(int64_t rows, int64_t channels, const double* bias, bool relu, double* y) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < channels; ++c) {
      double sum = y[r * channels + c] + bias[c];
      y[r * channels + c] = relu && sum < 0 ? 0 : sum;
    }
}

class ReferenceConv3d final : public Conv3d {
 public:
  ReferenceConv3d(const Conv3dProblem& problem, bool transposed, bool relu, Passes passes)
      : p_(problem), transposed_(transposed), relu_(relu), passes_(passes) {}

  size_t workspace_bytes() const override { return 0; }
  size_t packed_bytes() const override { return static_cast<size_t>(p_.weight_count()) * sizeof(double); }
  void pack(ConstArray weights, void* packed, void*) override {
    std::copy_n(elements(weights, p_.weight_count()), p_.weight_count(), static_cast<double*>(packed));
  }

  void forward(ConstArray source, const void* packed, ConstArray bias, Array destination, void*) override {
    apply(transposed_, source, packed, destination);
    const int64_t channels = transposed_ ? p_.in_channels : p_.out_channels;
    add_bias(destination.count / channels, channels, elements(bias, channels), relu_,
             destination.as<double>());
  }
  void backward_data(ConstArray destination_gradient, const void* packed, Array source_gradient,
                     void*) override {
    expect_training(passes_);
    apply(!transposed_, destination_gradient, packed, source_gradient);
  }
  void backward_weights(ConstArray source, ConstArray destination_gradient, Array weight_gradient,
                        void*) override {
    expect_training(passes_);
    if (transposed_) std::swap(source, destination_gradient);
    correlate(p_, elements(source, p_.x_count()), elements(destination_gradient, p_.y_count()),
              elements(weight_gradient, p_.weight_count()));
  }

 private:
  void apply(bool adjoint, ConstArray from, const void* packed, Array to) const {
    const double* w = static_cast<const double*>(packed);
    if (adjoint)
      convolve_adjoint(p_, elements(from, p_.y_count()), w, elements(to, p_.x_count()));
    else
      convolve(p_, elements(from, p_.x_count()), w, elements(to, p_.y_count()));
  }

  Conv3dProblem p_;
  bool transposed_, relu_;
  Passes passes_;
};

class ReferenceGatheredConv3d final : public ForwardConv3d {
 public:
  ReferenceGatheredConv3d(const Conv3dProblem& problem, LineSources sources, bool relu)
      : p_(problem),
        sources_(std::move(sources)),
        relu_(relu),
        rows_(static_cast<int64_t>(sources_.rows.size()) / p_.kernel.h),
        columns_(static_cast<int64_t>(sources_.columns.size()) / p_.kernel.w) {
    expect(p_.batch == 1, "gathered conv3d: one x");
  }

  size_t workspace_bytes() const override { return 0; }

  // The terms of each sum in the order of convolve().
  void forward(ConstArray x, const void* packed, ConstArray bias, Array y, void*) override {
    const Indices at{p_};
    const int64_t energies = p_.out().e, positions = rows_ * columns_ * energies;
    const double *source = elements(x, p_.x_count()), *weights = static_cast<const double*>(packed);
    double* sums = elements(y, positions * p_.out_channels);
    for (int64_t position = 0; position < positions; ++position)
      for (int64_t oc = 0; oc < p_.out_channels; ++oc) {
        double& sum = sums[position * p_.out_channels + oc];
        sum = 0;
        for_each_tap(p_, [&](int64_t kh, int64_t kw, int64_t ke) {
          const int64_t line = position / energies, ih = row(line / columns_, kh),
                        iw = column(line % columns_, kw),
                        ie = position % energies * p_.stride.e + ke - p_.padding.e;
          if (ih < 0 || iw < 0 || ie < 0 || ie >= p_.in.e) return;
          double products = 0;
          for (int64_t ic = 0; ic < p_.in_channels; ++ic)
            products += source[at.x(0, ih, iw, ie, ic)] * weights[at.w(oc, kh, kw, ke, ic)];
          sum += products;
        });
      }
    add_bias(positions, p_.out_channels, elements(bias, p_.out_channels), relu_, sums);
  }

 private:
  int64_t row(int64_t output, int64_t kh) const {
    return sources_.rows[static_cast<size_t>(output * p_.kernel.h + kh)];
  }
  int64_t column(int64_t output, int64_t kw) const {
    return sources_.columns[static_cast<size_t>(output * p_.kernel.w + kw)];
  }

  Conv3dProblem p_;
  LineSources sources_;
  bool relu_;
  int64_t rows_, columns_;  // of the output
};

}  // namespace

std::unique_ptr<Conv3d> ReferenceBackend::make_conv3d(const Conv3dProblem& problem, bool transposed,
                                                      bool relu, Passes passes) {
  return std::make_unique<ReferenceConv3d>(problem, transposed, relu, passes);
}

std::unique_ptr<ForwardConv3d> ReferenceBackend::make_gathered_conv3d(const Conv3dProblem& problem,
                                                                      LineSources sources, bool relu) {
  return std::make_unique<ReferenceGatheredConv3d>(problem, std::move(sources), relu);
}

}  // namespace eelsvae
