#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/network/network.h"

// A learned score of single spectra: a network that tells residuals of normal spectra from those of changed
// ones, in place of a maximum over a bank of filters. It knows no edge, only what changes do to spectra.
namespace eelsvae {

// What the head is given of each of `positions` places along the energy axis (head_rows.h), innermost.
constexpr int64_t head_features = 8;

// The network, (positions, head_features) -> the logits of normal and changed: convolutions along energy with
// ReLU, maps that are pooled over energy, and two Linear layers, which are convolutions of the one place that
// is left: batches are large, and a Linear layer's gradient is formed for small ones (kernels/norms.h). Its
// weights do not depend on the positions.
std::vector<LayerSpec> score_head_layers(int64_t positions);

// Weights of the network, in the order of its parameters and within each in PyTorch's.
using ScoreHead = std::vector<float>;

// A head ready to score rows of one length on a backend, `batch` spectra at a time.
class ScoreHeadNetwork {
 public:
  ScoreHeadNetwork(Backend& backend, const ScoreHead& head, int64_t positions, int64_t batch);
  // Log-odds (nats) of changed against normal, were both as common, of `count` <= batch spectra; rows (count,
  // positions, head_features).
  std::vector<double> log_odds(std::span<const float> rows);

 private:
  Network network_;
  int64_t positions_;
};

// The number of weights of score_head_layers().
int64_t score_head_weights();

// Copies weights to a network of score_head_layers(), and back.
void load_weights(const ScoreHead& head, Network& network);
ScoreHead weights_of(const Network& network);

}  // namespace eelsvae
