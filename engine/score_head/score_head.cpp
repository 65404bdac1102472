#include "engine/score_head/score_head.h"

#include <algorithm>

#include "kernels/error.h"

namespace eelsvae {
namespace {

using Kind = LayerSpec::Kind;

NetworkSpec inference_spec(int64_t positions) {
  // What such a network makes of its input are the logits themselves; shares that add up to 1 would all be 0
  // and 1 beyond 87 nats.
  return {score_head_layers(positions), {2}, {positions, head_features}, ReconstructionLoss::mse};
}

}  // namespace

std::vector<LayerSpec> score_head_layers(int64_t positions) {
  std::vector<LayerSpec> layers;
  int64_t length = positions, channels = head_features;
  const auto convolution = [&](const char* name, int64_t out, int64_t kernel, int64_t stride, bool relu) {
    Conv3dProblem p;
    p.in = {1, 1, length};
    p.in_channels = channels;
    p.out_channels = out;
    p.kernel = {1, 1, kernel};
    p.stride = {1, 1, stride};
    p.padding = {0, 0, kernel / 2};
    layers.push_back({name, Kind::convolution, relu, p});
    length = p.out().e;
    channels = out;
  };
  convolution("convolutions.0", 24, 9, 1, true);
  convolution("convolutions.2", 40, 7, 2, true);
  convolution("convolutions.4", 48, 7, 2, true);
  convolution("convolutions.6", 48, 7, 2, true);
  convolution("convolutions.8", 48, 7, 2, true);
  convolution("maps", 32, 1, 1, false);
  layers.push_back({"pooling", Kind::energy_pooling, false, {}, {channels, length}, {2 * channels}});
  length = 1;
  channels *= 2;
  convolution("out.0", 48, 1, 1, true);
  convolution("out.2", 2, 1, 1, false);
  return layers;
}

int64_t score_head_weights() {
  int64_t count = 0;
  for (const LayerSpec& layer : score_head_layers(1))
    for (const Parameter& parameter : layer.parameters()) count += parameter.count();
  return count;
}

void load_weights(const ScoreHead& head, Network& network) {
  expect(std::ssize(head) == score_head_weights(), "weights of another network");
  size_t at = 0;
  for (const Network::State& state : network.states())
    if (state.weight)
      network.write_state(state, [&](float* block, int64_t count) {
        std::copy_n(head.begin() + static_cast<std::ptrdiff_t>(at), count, block);
        at += static_cast<size_t>(count);
      });
  network.refresh();
}

ScoreHead weights_of(const Network& network) {
  ScoreHead weights;
  for (const Network::State& state : network.states())
    if (state.weight)
      network.read_state(state, [&](const float* block, int64_t count) {
        weights.insert(weights.end(), block, block + count);
      });
  return weights;
}

ScoreHeadNetwork::ScoreHeadNetwork(Backend& backend, const ScoreHead& head, int64_t positions, int64_t batch)
    : network_(backend, inference_spec(positions), batch, Purpose::inference), positions_(positions) {
  network_.allocate();
  load_weights(head, network_);
}

std::vector<double> ScoreHeadNetwork::log_odds(std::span<const float> rows) {
  const int64_t count = std::ssize(rows) / (positions_ * head_features);
  expect(count <= network_.batch(), "more spectra than were planned for");
  float* inputs = network_.next_inputs();
  std::ranges::copy(rows, inputs);
  std::fill(inputs + rows.size(), inputs + network_.batch() * positions_ * head_features, 0.0f);
  network_.load_inputs();
  network_.start_reconstruction();
  const float* logits = network_.finish_reconstruction().tiles;
  std::vector<double> odds;
  for (int64_t i = 0; i < count; ++i)
    odds.push_back(static_cast<double>(logits[2 * i + 1]) - static_cast<double>(logits[2 * i]));
  return odds;
}

}  // namespace eelsvae
