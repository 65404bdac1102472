#pragma once

#include <cuda_runtime.h>

#include "kernels/array.h"
#include "kernels/conv3d.h"
#include "kernels/cuda/namespace.h"
#include "kernels/host_device.h"

namespace eelsvae::EELSVAE_GPU {

// A convolution with stride 2 along the energy axis, written as one with stride 1.
//
// Channels-last, x (.., E, C) is x (.., E/2, 2C) without a move in memory: of a pair of energies (2j, 2j + 1)
// the channels of the second follow those of the first. Tap k of the kernel reads energy
// 2o + k - p = 2(o + q - P) + r for output o, that is channel rC + c of pair o + q - P, with
//
//   k = 2(q - P) + r + p,   P = ceil(p / 2)
//
// so the same numbers result from a kernel over pairs whose entries are weights of the kernel over energies,
// or zero where k falls outside it. A kernel of 5 and padding 2 becomes one of 3 and padding 1, 6/5 of the
// work, for which libraries have their best engines.
//
// With stride 1 everywhere the adjoint is an ordinary convolution too, of the kernel reversed along its axes
// with the roles of the channels exchanged.
class Fold {
 public:
  // Strides (1, 1, 2), an even number of energies, a kernel that reaches beyond the padding.
  static bool applies_to(const Conv3dProblem& p) {
    return p.stride == Extent3{1, 1, 2} && p.in.e % 2 == 0 && p.padding.h < p.kernel.h &&
           p.padding.w < p.kernel.w && p.padding.e < p.kernel.e;
  }
  explicit Fold(const Conv3dProblem& p)
      : channels_(p.in_channels), taps_(p.kernel.e), padding_(p.padding.e), folded_(p) {
    expect(applies_to(p), "this convolution cannot be folded");
    folded_.in.e = p.in.e / 2;
    folded_.in_channels = 2 * p.in_channels;
    folded_.padding.e = (p.padding.e + 1) / 2;
    folded_.kernel.e = folded_.in.e + 2 * folded_.padding.e + 1 - p.out().e;
    folded_.stride.e = 1;
  }

  // x and y of the folded problem are those of the original, x seen in pairs.
  const Conv3dProblem& folded() const { return folded_; }
  // Maps y to x, both of folded().
  Conv3dProblem adjoint() const {
    const Extent3 k = folded_.kernel, p = folded_.padding;
    return {folded_.batch,
            folded_.out(),
            folded_.out_channels,
            folded_.in_channels,
            k,
            {1, 1, 1},
            {k.h - 1 - p.h, k.w - 1 - p.w, k.e - 1 - p.e}};
  }
  int64_t weight_count() const { return folded_.weight_count(); }

  // Index of the weight that stands at index i of the weights of folded(), or -1 for a zero.
  EELSVAE_HOST_DEVICE int64_t source_of_folded(int64_t i) const {
    const int64_t pair_channel = i % (2 * channels_), r = pair_channel / channels_,
                  c = pair_channel % channels_;
    i /= 2 * channels_;
    const int64_t q = i % folded_.kernel.e, rest = i / folded_.kernel.e;  // rest: (oc, kh, kw)
    const int64_t k = 2 * (q - folded_.padding.e) + r + padding_;
    return k >= 0 && k < taps_ ? (rest * taps_ + k) * channels_ + c : -1;
  }
  // The same for the weights of adjoint().
  EELSVAE_HOST_DEVICE int64_t source_of_adjoint(int64_t i) const {
    const int64_t outer = folded_.out_channels, oc = i % outer;
    i /= outer;
    const int64_t volume = folded_.kernel.h * folded_.kernel.w * folded_.kernel.e;
    const int64_t tap = volume - 1 - i % volume, pair_channel = i / volume;
    return source_of_folded((oc * volume + tap) * 2 * channels_ + pair_channel);
  }
  // Index among the weights of folded() of weight i: the inverse of source_of_folded().
  EELSVAE_HOST_DEVICE int64_t place_in_folded(int64_t i) const {
    const int64_t c = i % channels_;
    i /= channels_;
    const int64_t rest = i / taps_,
                  shift = i % taps_ - padding_ + 2 * folded_.padding.e;  // 2q + r, never < 0
    return ((rest * folded_.kernel.e + shift / 2) * 2 + shift % 2) * channels_ + c;
  }

 private:
  int64_t channels_, taps_, padding_;  // of the original: in_channels, and along the energy axis
  Conv3dProblem folded_;
};

// Weights (f32) as those of folded() and of adjoint().
void fold_weights(cudaStream_t stream, const Fold& fold, const float* weights, Array folded);
void fold_adjoint_weights(cudaStream_t stream, const Fold& fold, const float* weights, Array folded);
// The gradient with respect to the weights from the one with respect to those of folded().
void unfold_gradient(cudaStream_t stream, const Fold& fold, ConstArray folded, Array gradient);
// The bias (f32) in the type of `repeated`, as often as that has room for it.
void repeat_bias(cudaStream_t stream, ConstArray bias, Array repeated);

}  // namespace eelsvae::EELSVAE_GPU
