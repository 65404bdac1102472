#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/network/architecture.h"
#include "engine/network/memory_plan.h"
#include "engine/network/parameter.h"
#include "kernels/backend.h"

namespace eelsvae {

// What a layer is connected to. Operation numbers order the lifetimes in the memory plan.
struct Wiring {
  BufferId input = no_buffer, output = no_buffer;
  BufferId input_gradient = no_buffer;  // no_buffer: nobody needs it
  BufferId output_gradient = no_buffer;
  BufferId workspace = no_buffer;  // shared by all layers
};

// Where a layer's parameter lives. Layers read `compute`; the optimizer works on `master`.
struct ParameterStorage {
  Parameter parameter;
  BufferId compute = no_buffer;  // what the forward and backward passes read
  BufferId master = no_buffer;   // full-precision weights (may be the same buffer)
  BufferId m = no_buffer, v = no_buffer;
  BufferId gradient = no_buffer;
  int64_t offset = 0;  // first element within the buffers, which small parameters share
};

// One call of a backend, ready to be queued any number of times. flops are those of convolutions and matrix
// products (a multiply-add counts as two; elementwise arithmetic is not counted), read and written the bytes
// of the least traffic with memory: every operand once.
struct Operation {
  const char* name;
  double flops, read, written;
  std::function<void()> queue;
};
using Operations = std::vector<Operation>;

// One layer of the network with its hand-derived backward pass. Buffers are named at construction time; the
// operations work on those of an arena, which must outlive them.
class Layer {
 public:
  virtual ~Layer() = default;
  virtual size_t workspace_bytes() const { return 0; }
  // Memory for a form of the weights that refresh() makes from `compute` whenever the weights have changed.
  virtual size_t packed_bytes() const { return 0; }
  virtual Operations refresh(const Arena&) { return {}; }

  virtual Operations forward(const Arena& arena) = 0;
  virtual Operations backward(const Arena& arena) = 0;

  std::string name;  // LayerSpec::name
  Wiring wiring;
  BufferId packed = no_buffer;
  // Index into the model's parameters; -1: the layer has none.
  int weight = -1, bias = -1;
};

// Part of `array`: `count` elements from `offset`.
inline Array slice(Array array, int64_t offset, int64_t count) {
  return {static_cast<char*>(array.data) + static_cast<size_t>(offset) * size_of(array.type), array.type,
          count};
}

// Convolution or transposed convolution with bias and, except for the last one, ReLU.
class ConvLayer final : public Layer {
 public:
  ConvLayer(Backend& backend, const Conv3dProblem& problem, bool transposed, bool relu, Passes passes,
            const std::vector<ParameterStorage>& parameters);

  size_t workspace_bytes() const override { return operation_->workspace_bytes(); }
  size_t packed_bytes() const override { return operation_->packed_bytes(); }
  Operations refresh(const Arena& arena) override;
  Operations forward(const Arena& arena) override;
  Operations backward(const Arena& arena) override;

 private:
  Backend& backend_;
  Conv3dProblem problem_;
  std::unique_ptr<Conv3d> operation_;
  int64_t channels_;  // of the layer's output
  bool relu_;
  const std::vector<ParameterStorage>& parameters_;
};

// Linear layer. Its backward pass leaves the two factors of the weight gradient, the layer's input and the
// gradient at its output, in their buffers: squared_gradient_norm and update read them there.
class LinearLayer final : public Layer {
 public:
  LinearLayer(Backend& backend, const LinearProblem& problem, bool relu, Passes passes,
              const std::vector<ParameterStorage>& parameters);

  size_t workspace_bytes() const override;
  Operations forward(const Arena& arena) override;
  Operations backward(const Arena& arena) override;

  Operation squared_gradient_norm(const Arena& arena, Array result);
  Operation update(const Arena& arena, const StepScalars* scalars);

 private:
  Backend& backend_;
  LinearProblem problem_;
  Passes passes_;
  std::unique_ptr<Linear> operation_;
  bool relu_;
  const std::vector<ParameterStorage>& parameters_;
};

// What is left of maps when places along the energy axis no longer matter (kernels/energy_pooling.h).
class EnergyPoolingLayer final : public Layer {
 public:
  EnergyPoolingLayer(Backend& backend, int64_t batch, Features maps)
      : backend_(backend), batch_(batch), maps_(maps) {}

  Operations forward(const Arena& arena) override;
  Operations backward(const Arena& arena) override;

 private:
  Backend& backend_;
  int64_t batch_;
  Features maps_;
};

// Draws z from the posterior that the encoder's head describes, or takes its mean.
class PosteriorLayer final : public Layer {
 public:
  // posteriors: of a tile.
  PosteriorLayer(Backend& backend, int64_t batch, int64_t posteriors, int64_t latent)
      : backend_(backend), batch_(batch), rows_(batch * posteriors), latent_(latent) {}

  Operations forward(const Arena& arena) override;
  Operations backward(const Arena& arena) override;

  bool sample = false;
  BufferId scalars = no_buffer;
  BufferId results = no_buffer;  // KL divergences are the elements from batch on

 private:
  Backend& backend_;
  int64_t batch_, rows_, latent_;
};

}  // namespace eelsvae
