#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "engine/network/model.h"
#include "engine/network/model_probe.h"
#include "tests/kernels/backend_test.h"

namespace eelsvae {

// A network small enough to be run often; no width fills a vector register.
inline ModelShape small_shape() {
  return {/*image_size=*/8, /*energy=*/32, /*channels=*/{2, 3, 4, 5}, /*hidden=*/6, /*latent=*/3};
}

// A model with its memory.
struct AllocatedModel : Model {
  AllocatedModel(Backend& backend, const ModelShape& shape, ReconstructionLoss loss, int64_t batch,
                 Purpose purpose)
      : Model(backend, shape, loss, batch, purpose) {
    allocate();
  }
};

// Preprocessed intensities in [0, 1] with zeros and ones among them, as clipping leaves them.
inline std::vector<float> random_tiles(const ModelShape& shape, int64_t batch, uint64_t draw) {
  std::vector<float> tiles;
  for (double value : random_normal(batch * shape.tile_count(), 0.4, draw))
    tiles.push_back(static_cast<float>(std::clamp(0.5 + value, 0.0, 1.0)));
  return tiles;
}

inline Values download(Backend& backend, ConstArray array) {
  Values values(static_cast<size_t>(array.count));
  DeviceArray::with_type(array.type, [&]<typename T>(T) {
    std::vector<T> host(values.size());
    backend.download(array.data, host.data(), array.bytes());
    std::copy(host.begin(), host.end(), values.begin());
  });
  return values;
}

// A weight or moment in PyTorch's order.
inline Values values_of(const Model& model, const Model::State& state) {
  Values values;
  model.read_state(
      state, [&](const float* block, int64_t count) { values.insert(values.end(), block, block + count); });
  return values;
}

inline void set_values(Model& model, const Model::State& state, const std::vector<float>& values) {
  int64_t first = 0;
  model.write_state(state, [&](float* block, int64_t count) {
    std::copy_n(values.begin() + first, count, block);
    first += count;
  });
}

// Weights and, where both models have them, moments.
inline void copy_states(const Model& from, Model& to) {
  for (const Model::State& state : to.states())
    for (const Model::State& other : from.states())
      if (other.name == state.name) {
        const Values values = values_of(from, other);
        set_values(to, state, {values.begin(), values.end()});
      }
  to.refresh();
}

// A parameter's gradient after forward_backward() in the engine's order, a Linear weight's formed from its
// two factors: d^T x.
inline Values gradient_of(Model& model, const Parameter& parameter) {
  if (parameter.shape.size() != 2)
    return download(model.backend(), ModelProbe(model).gradient_array(parameter.name));
  const auto [x_array, d_array] = ModelProbe(model).gradient_factors(parameter.name);
  const Values x = download(model.backend(), x_array), d = download(model.backend(), d_array);
  const size_t batch = static_cast<size_t>(model.batch()), in = x.size() / batch, out = d.size() / batch;
  Values gradient(out * in);
  for (size_t b = 0; b < batch; ++b)
    for (size_t o = 0; o < out; ++o)
      for (size_t i = 0; i < in; ++i) gradient[o * in + i] += d[b * out + o] * x[b * in + i];
  return gradient;
}

// From the engine's order of a parameter's elements to PyTorch's.
inline Values in_file_order(Backend& backend, const Parameter& parameter, const Values& values) {
  const DeviceArray array(backend, DType::f64, values);
  Values ordered;
  read_in_file_order(backend, parameter, array, [&](const float* block, int64_t count) {
    ordered.insert(ordered.end(), block, block + count);
  });
  return ordered;
}

inline double norm_of(const Values& values) {
  return std::sqrt(dot(values, values));
}

}  // namespace eelsvae
