#pragma once

#include "kernels/array.h"
#include "kernels/step_scalars.h"

namespace eelsvae {

// Reconstruction terms over (tiles, pixels, energy). logits have the activation type, targets the master
// type.
//
// Cross-entropy with soft targets, per spectrum with lse = log sum exp x and T = sum t:
//   loss = sum over energy of t (lse - x),   d loss / d x = softmax(x) T - t
// Mean squared error in its summed form, as the published training sums over a tile:
//   loss = sum over energy of (x - t)^2,     d loss / d x = 2 (x - t)
// Poisson's likelihood of counts that are expected to be exp x, but for what depends on the targets alone:
//   loss = sum over energy of exp x - t x,   d loss / d x = exp x - t
// which is the cross-entropy and, besides, the likelihood of the spectrum's total: the network learns this,
// too. All: a spectrum whose targets are all zero is left out. Its loss and gradient are exactly zero,
// whatever its logits, as the cross-entropy's formula has it already; so excluded pixels are told by their
// targets.
//
// Memory of each: logits and targets once in, gradient once out; nothing of the logits' size besides.
enum class ReconstructionLoss { cross_entropy, mse, poisson };

class ReconstructionLossOperations {
 public:
  virtual ~ReconstructionLossOperations() = default;

  // loss[tile] (f64) is the unweighted sum over the tile. gradient, if not null, receives
  // scalars->reconstruction_weight times the derivative and may be the logits' own memory.
  virtual void reconstruction_loss(ReconstructionLoss kind, int64_t tiles, int64_t pixels, int64_t energy,
                                   ConstArray logits, ConstArray targets, const StepScalars* scalars,
                                   Array loss, Array gradient) = 0;

  // What the network says a spectrum should be, in the targets' units and of the master type: for
  // cross-entropy softmax(x) * T, since the softmax discards a spectrum's total; for mse x itself, for
  // poisson exp x.
  virtual void reconstruct(ReconstructionLoss kind, int64_t spectra, int64_t energy, ConstArray logits,
                           ConstArray targets, Array reconstruction) = 0;
};

}  // namespace eelsvae
