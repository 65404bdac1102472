#include "engine/network/layers.h"

#include <initializer_list>

namespace eelsvae {
namespace {

Array array_of(const Arena& arena, const ParameterStorage& storage, BufferId buffer) {
  return slice(arena.array(buffer), storage.offset, storage.parameter.count());
}

double bytes_of(std::initializer_list<ConstArray> arrays) {
  double sum = 0;
  for (const ConstArray& array : arrays) sum += static_cast<double>(array.bytes());
  return sum;
}

// In place over the gradient, which ReLU changes.
Operation bias_relu_backward(Backend& backend, int64_t channels, ConstArray output, bool relu, Array gradient,
                             Array bias_gradient) {
  const int64_t rows = gradient.count / channels;
  const double read = bytes_of({gradient}) + (relu ? bytes_of({output}) : 0),
               written = bytes_of({bias_gradient}) + (relu ? bytes_of({gradient}) : 0);
  return {"bias and ReLU", 0, read, written, [=, &backend] {
            backend.bias_relu_backward(rows, channels, relu ? output : ConstArray(), relu, gradient,
                                       bias_gradient);
          }};
}

}  // namespace

ConvLayer::ConvLayer(Backend& backend, const Conv3dProblem& problem, bool transposed, bool relu,
                     Passes passes, const std::vector<ParameterStorage>& parameters)
    : backend_(backend),
      problem_(problem),
      operation_(backend.make_conv3d(problem, transposed, relu, passes)),
      channels_(transposed ? problem.in_channels : problem.out_channels),
      relu_(relu),
      parameters_(parameters) {}

Operations ConvLayer::refresh(const Arena& arena) {
  const ParameterStorage& storage = parameters_[static_cast<size_t>(weight)];
  const Array w = array_of(arena, storage, storage.compute);
  void *form = arena.at(packed), *workspace = arena.at(wiring.workspace);
  return {{"pack", 0, bytes_of({w}), static_cast<double>(packed_bytes()),
           [=, this] { operation_->pack(w, form, workspace); }}};
}

Operations ConvLayer::forward(const Arena& arena) {
  const ParameterStorage& storage = parameters_[static_cast<size_t>(bias)];
  const Array b = array_of(arena, storage, storage.compute), input = arena.array(wiring.input),
              output = arena.array(wiring.output);
  void *form = arena.at(packed), *workspace = arena.at(wiring.workspace);
  return {{"forward", problem_.flops(), bytes_of({input, b}) + static_cast<double>(packed_bytes()),
           bytes_of({output}), [=, this] { operation_->forward(input, form, b, output, workspace); }}};
}

Operations ConvLayer::backward(const Arena& arena) {
  const ParameterStorage& w = parameters_[static_cast<size_t>(weight)];
  const ParameterStorage& b = parameters_[static_cast<size_t>(bias)];
  const Array input = arena.array(wiring.input), gradient = arena.array(wiring.output_gradient),
              weight_gradient = array_of(arena, w, w.gradient);
  void *form = arena.at(packed), *workspace = arena.at(wiring.workspace);
  Operations operations = {
      bias_relu_backward(backend_, channels_, arena.array(wiring.output), relu_, gradient,
                         array_of(arena, b, b.gradient)),
      {"weight gradient", problem_.flops(), bytes_of({input, gradient}), bytes_of({weight_gradient}),
       [=, this] { operation_->backward_weights(input, gradient, weight_gradient, workspace); }}};
  if (wiring.input_gradient != no_buffer) {
    const Array input_gradient = arena.array(wiring.input_gradient);
    operations.push_back(
        {"data gradient", problem_.flops(), bytes_of({gradient}) + static_cast<double>(packed_bytes()),
         bytes_of({input_gradient}),
         [=, this] { operation_->backward_data(gradient, form, input_gradient, workspace); }});
  }
  return operations;
}

LinearLayer::LinearLayer(Backend& backend, const LinearProblem& problem, bool relu, Passes passes,
                         const std::vector<ParameterStorage>& parameters)
    : backend_(backend),
      problem_(problem),
      passes_(passes),
      operation_(backend.make_linear(problem, passes)),
      relu_(relu),
      parameters_(parameters) {}

size_t LinearLayer::workspace_bytes() const {
  const bool training = passes_ == Passes::training;
  return std::max(operation_->workspace_bytes(),
                  training ? backend_.outer_product_workspace_bytes(problem_.batch) : 0);
}

Operations LinearLayer::forward(const Arena& arena) {
  const ParameterStorage& weights = parameters_[static_cast<size_t>(weight)];
  const ParameterStorage& biases = parameters_[static_cast<size_t>(bias)];
  const Array w = array_of(arena, weights, weights.compute), b = array_of(arena, biases, biases.compute),
              input = arena.array(wiring.input), output = arena.array(wiring.output);
  void* workspace = arena.at(wiring.workspace);
  return {{"forward", problem_.flops(), bytes_of({input, w, b}), bytes_of({output}),
           [=, this] { operation_->forward(input, w, b, relu_, output, workspace); }}};
}

Operations LinearLayer::backward(const Arena& arena) {
  const ParameterStorage& weights = parameters_[static_cast<size_t>(weight)];
  const ParameterStorage& b = parameters_[static_cast<size_t>(bias)];
  const Array w = array_of(arena, weights, weights.compute), gradient = arena.array(wiring.output_gradient),
              input_gradient = arena.array(wiring.input_gradient);
  void* workspace = arena.at(wiring.workspace);
  return {bias_relu_backward(backend_, problem_.out, arena.array(wiring.output), relu_, gradient,
                             array_of(arena, b, b.gradient)),
          {"data gradient", problem_.flops(), bytes_of({gradient, w}), bytes_of({input_gradient}),
           [=, this] { operation_->backward_data(gradient, w, input_gradient, workspace); }}};
}

Operation LinearLayer::squared_gradient_norm(const Arena& arena, Array result) {
  const Array x = arena.array(wiring.input), d = arena.array(wiring.output_gradient);
  void* workspace = arena.at(wiring.workspace);
  const double b = static_cast<double>(problem_.batch);  // two Gram matrices (batch, batch)
  return {"gradient norm", 2 * b * b * static_cast<double>(problem_.in + problem_.out), bytes_of({x, d}),
          bytes_of({result}), [=, this] {
            backend_.squared_norm_outer_product(problem_.batch, problem_.in, problem_.out, x, d, result,
                                                workspace);
          }};
}

Operation LinearLayer::update(const Arena& arena, const StepScalars* scalars) {
  const ParameterStorage& s = parameters_[static_cast<size_t>(weight)];
  const Array x = arena.array(wiring.input), d = arena.array(wiring.output_gradient),
              w = array_of(arena, s, s.master), m = array_of(arena, s, s.m), v = array_of(arena, s, s.v),
              shadow = s.compute == s.master ? Array() : array_of(arena, s, s.compute);
  return {"Adam", problem_.flops(), bytes_of({x, d, w, m, v}), bytes_of({w, m, v, shadow}), [=, this] {
            backend_.adam_outer_product(problem_.batch, problem_.in, problem_.out, x, d, scalars, w, m, v,
                                        shadow);
          }};
}

Operations EnergyPoolingLayer::forward(const Arena& arena) {
  const Array x = arena.array(wiring.input), y = arena.array(wiring.output);
  return {{"forward", 0, bytes_of({x}), bytes_of({y}),
           [=, this] { backend_.energy_pooling(batch_, maps_.positions, maps_.channels, x, y); }}};
}

Operations EnergyPoolingLayer::backward(const Arena& arena) {
  const Array x = arena.array(wiring.input), y = arena.array(wiring.output),
              y_gradient = arena.array(wiring.output_gradient),
              x_gradient = arena.array(wiring.input_gradient);
  return {{"data gradient", 0, bytes_of({x, y, y_gradient}), bytes_of({x_gradient}), [=, this] {
             backend_.energy_pooling_backward(batch_, maps_.positions, maps_.channels, x, y, y_gradient,
                                              x_gradient);
           }}};
}

Operations PosteriorLayer::forward(const Arena& arena) {
  const Array head = arena.array(wiring.input), z = arena.array(wiring.output),
              kl = slice(arena.array(results), batch_, rows_);
  const auto* step = static_cast<const StepScalars*>(arena.at(scalars));
  return {{"forward", 0, bytes_of({head}), bytes_of({z, kl}),
           [=, this] { backend_.reparameterize(rows_, latent_, head, sample, step, z, kl); }}};
}

Operations PosteriorLayer::backward(const Arena& arena) {
  const Array head = arena.array(wiring.input), z_gradient = arena.array(wiring.output_gradient),
              head_gradient = arena.array(wiring.input_gradient);
  const auto* step = static_cast<const StepScalars*>(arena.at(scalars));
  return {{"data gradient", 0, bytes_of({head, z_gradient}), bytes_of({head_gradient}), [=, this] {
             backend_.reparameterize_backward(rows_, latent_, head, z_gradient, step, head_gradient);
           }}};
}

}  // namespace eelsvae
