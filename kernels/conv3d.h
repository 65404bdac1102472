#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/array.h"
#include "kernels/host_device.h"
#include "kernels/passes.h"

namespace eelsvae {

// Sizes along the two scan axes and the energy axis.
struct Extent3 {
  int64_t h = 1, w = 1, e = 1;
  EELSVAE_HOST_DEVICE int64_t volume() const { return h * w * e; }
  bool operator==(const Extent3&) const = default;
};

// One convolution
//
//   y[n, o, oc] = b[oc] + sum over k, ic of x[n, o * stride + k - padding, ic] * w[oc, k, ic]
//
// over the axes (h, w, e), zero outside the input. x is (N, H, W, E, in_channels), y is
// (N, H', W', E', out_channels), w is (out_channels, kh, kw, ke, in_channels); channels innermost everywhere.
//
// The transposed convolution of the same problem is its adjoint: it maps an array of y's shape to one of x's
// shape with the same w. ("in" and "out" always are the convolution's.)
struct Conv3dProblem {
  int64_t batch = 1;
  Extent3 in;
  int64_t in_channels = 1, out_channels = 1;
  Extent3 kernel, stride, padding;

  EELSVAE_HOST_DEVICE Extent3 out() const {
    auto size = [](int64_t i, int64_t k, int64_t s, int64_t p) { return (i + 2 * p - k) / s + 1; };
    return {size(in.h, kernel.h, stride.h, padding.h), size(in.w, kernel.w, stride.w, padding.w),
            size(in.e, kernel.e, stride.e, padding.e)};
  }
  EELSVAE_HOST_DEVICE int64_t x_count() const { return batch * in.volume() * in_channels; }
  EELSVAE_HOST_DEVICE int64_t y_count() const { return batch * out().volume() * out_channels; }
  EELSVAE_HOST_DEVICE int64_t weight_count() const { return out_channels * kernel.volume() * in_channels; }
  // Multiply-adds counted as two, borders counted as inside; the same for each of the three passes.
  double flops() const {
    return 2.0 * static_cast<double>(batch * out().volume()) * static_cast<double>(weight_count());
  }
  bool operator==(const Conv3dProblem&) const = default;
};

// A convolution or transposed convolution, with or without a ReLU behind it, made ready for one problem and
// for the passes it will be asked for: algorithms chosen, memory needs known.
// source and destination below are the layer's own input and output: x and y of the problem for a
// convolution, y and x for its transpose. Activations have the backend's activation type, weights, biases and
// their gradients its master type.
class ForwardConv3d {
 public:
  virtual ~ForwardConv3d() = default;
  // Scratch memory that any one call may use; its content does not survive the call.
  virtual size_t workspace_bytes() const = 0;
  // destination = relu?(conv(source) + bias). packed: the weights as Conv3d::pack() makes them.
  virtual void forward(ConstArray source, const void* packed, ConstArray bias, Array destination,
                       void* workspace) = 0;
};

// The same with the packing of its weights and its backward passes.
class Conv3d : public ForwardConv3d {
 public:
  // Size of the form of the weights that the passes read (another type or order of axes).
  virtual size_t packed_bytes() const = 0;
  // Makes the packed form; to be called after every change of the weights.
  virtual void pack(ConstArray weights, void* packed, void* workspace) = 0;

  // Both backward passes need Passes::training. Gradient with respect to the source, from the gradient before
  // bias and ReLU.
  virtual void backward_data(ConstArray destination_gradient, const void* packed, Array source_gradient,
                             void* workspace) = 0;
  // Gradient with respect to the weights; overwrites.
  virtual void backward_weights(ConstArray source, ConstArray destination_gradient, Array weight_gradient,
                                void* workspace) = 0;
};

// Which lines along the energy axis the lines of a convolution's output see: of the output's row i the taps
// kh see the rows rows[i * kernel.h + kh] of x, of its column j the taps kw the columns
// columns[j * kernel.w + kw]. -1: none, the tap sees zeros.
struct LineSources {
  std::vector<int64_t> rows, columns;
};

class Conv3dOperations {
 public:
  virtual ~Conv3dOperations() = default;
  // transposed: the problem's adjoint; relu: whether the forward pass ends with one.
  virtual std::unique_ptr<Conv3d> make_conv3d(const Conv3dProblem& problem, bool transposed, bool relu,
                                              Passes passes) = 0;
  // A convolution whose output lines may see any lines of x. Tiles of an image that overlap share lines, and
  // what they share is computed once; the results have the bits that make_conv3d's forward gives on the
  // tiles, from weights packed for a problem with the same kernel and channels. problem: batch 1, in the size
  // of x; stride and padding along h and w mean nothing, for `sources` says it all. y is (rows, columns, E',
  // out_channels) with as many rows and columns as there are sources for. relu as above. Null where this
  // backend has none for the problem.
  virtual std::unique_ptr<ForwardConv3d> make_gathered_conv3d(const Conv3dProblem&, LineSources, bool) {
    return nullptr;
  }
};

}  // namespace eelsvae
