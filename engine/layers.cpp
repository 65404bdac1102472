#include "engine/layers.h"

namespace eelsvae {
namespace {

Array array_of(const Arena& arena, const ParameterStorage& storage, BufferId buffer) {
  return slice(arena.array(buffer), storage.offset, storage.parameter.count());
}

}  // namespace

ConvLayer::ConvLayer(Backend& backend, const Conv3dProblem& problem, bool transposed, bool relu,
                     const std::vector<ParameterStorage>& parameters)
    : backend_(backend),
      operation_(transposed ? backend.make_transposed_conv3d(problem) : backend.make_conv3d(problem)),
      channels_(transposed ? problem.in_channels : problem.out_channels),
      relu_(relu),
      parameters_(parameters) {}

void ConvLayer::refresh(const Arena& arena) {
  const ParameterStorage& w = parameters_[static_cast<size_t>(weight)];
  operation_->pack(array_of(arena, w, w.compute), arena.at(packed), arena.at(wiring.workspace));
}

void ConvLayer::forward(const Arena& arena) {
  const ParameterStorage& b = parameters_[static_cast<size_t>(bias)];
  operation_->forward(arena.array(wiring.input), arena.at(packed), array_of(arena, b, b.compute), relu_,
                      arena.array(wiring.output), arena.at(wiring.workspace));
}

void ConvLayer::backward(const Arena& arena) {
  const ParameterStorage& w = parameters_[static_cast<size_t>(weight)];
  const ParameterStorage& b = parameters_[static_cast<size_t>(bias)];
  Array gradient = arena.array(wiring.output_gradient);
  void* workspace = arena.at(wiring.workspace);
  ConstArray output = relu_ ? ConstArray(arena.array(wiring.output)) : ConstArray();
  backend_.bias_relu_backward(gradient.count / channels_, channels_, output, relu_, gradient,
                              array_of(arena, b, b.gradient));
  operation_->backward_weights(arena.array(wiring.input), gradient, array_of(arena, w, w.gradient),
                               workspace);
  if (wiring.input_gradient != no_buffer)
    operation_->backward_data(gradient, arena.at(packed), arena.array(wiring.input_gradient), workspace);
}

LinearLayer::LinearLayer(Backend& backend, const LinearProblem& problem, bool relu,
                         const std::vector<ParameterStorage>& parameters)
    : backend_(backend),
      problem_(problem),
      operation_(backend.make_linear(problem)),
      relu_(relu),
      parameters_(parameters) {}

size_t LinearLayer::workspace_bytes() const {
  return std::max(operation_->workspace_bytes(), backend_.outer_product_workspace_bytes(problem_.batch));
}

void LinearLayer::forward(const Arena& arena) {
  const ParameterStorage& w = parameters_[static_cast<size_t>(weight)];
  const ParameterStorage& b = parameters_[static_cast<size_t>(bias)];
  operation_->forward(arena.array(wiring.input), array_of(arena, w, w.compute), array_of(arena, b, b.compute),
                      relu_, arena.array(wiring.output), arena.at(wiring.workspace));
}

void LinearLayer::backward(const Arena& arena) {
  const ParameterStorage& w = parameters_[static_cast<size_t>(weight)];
  const ParameterStorage& b = parameters_[static_cast<size_t>(bias)];
  Array gradient = arena.array(wiring.output_gradient);
  ConstArray output = relu_ ? ConstArray(arena.array(wiring.output)) : ConstArray();
  backend_.bias_relu_backward(problem_.batch, problem_.out, output, relu_, gradient,
                              array_of(arena, b, b.gradient));
  operation_->backward_data(gradient, array_of(arena, w, w.compute), arena.array(wiring.input_gradient),
                            arena.at(wiring.workspace));
}

void LinearLayer::squared_gradient_norm(const Arena& arena, Array result) {
  backend_.squared_norm_outer_product(problem_.batch, problem_.in, problem_.out, arena.array(wiring.input),
                                      arena.array(wiring.output_gradient), result,
                                      arena.at(wiring.workspace));
}

void LinearLayer::update(const Arena& arena, const StepScalars* scalars) {
  const ParameterStorage& w = parameters_[static_cast<size_t>(weight)];
  Array shadow = w.compute == w.master ? Array() : array_of(arena, w, w.compute);
  backend_.adam_outer_product(problem_.batch, problem_.in, problem_.out, arena.array(wiring.input),
                              arena.array(wiring.output_gradient), scalars, array_of(arena, w, w.master),
                              array_of(arena, w, w.m), array_of(arena, w, w.v), shadow);
}

void PosteriorLayer::forward(const Arena& arena) {
  backend_.reparameterize(batch_, latent_, arena.array(wiring.input), sample,
                          static_cast<const StepScalars*>(arena.at(scalars)), arena.array(wiring.output),
                          slice(arena.array(results), batch_, batch_));
}

void PosteriorLayer::backward(const Arena& arena) {
  backend_.reparameterize_backward(
      batch_, latent_, arena.array(wiring.input), arena.array(wiring.output_gradient),
      static_cast<const StepScalars*>(arena.at(scalars)), arena.array(wiring.input_gradient));
}

}  // namespace eelsvae
