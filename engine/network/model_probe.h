#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/network/network.h"

namespace eelsvae {

// A look inside a network, for tests and for the check that precedes a benchmark: halves of a step by
// themselves, and what lies in its memory.
class ModelProbe {
 public:
  explicit ModelProbe(Network& model) : model_(model) {}

  // The two halves of a step. Forward and backward pass over the loaded tiles; leaves gradients in place.
  std::vector<TileLoss> forward_backward(const LossWeights& weights, uint64_t seed, uint64_t step);
  // Norm, clipping and Adam step; returns the norm before clipping.
  double update(double learning_rate, double limit);

  // After a pass: mean and log-variance of the posterior (batch, 2 latent), logits (batch, target...).
  std::vector<double> posterior() const;
  std::vector<double> logits() const;

  // A parameter's memory and that of its gradient; Linear weights have no stored gradient.
  Array parameter_array(const std::string& name) const;
  Array gradient_array(const std::string& name) const;
  // The two factors x (batch, in) and d (batch, out) of a Linear weight's gradient d^T x.
  struct Factors {
    Array x, d;
  };
  Factors gradient_factors(const std::string& name) const;

 private:
  const ParameterStorage& storage(const std::string& name) const;

  Network& model_;
};

}  // namespace eelsvae
