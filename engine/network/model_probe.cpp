#include "engine/network/model_probe.h"

#include <algorithm>

#include "kernels/error.h"

namespace eelsvae {

std::vector<TileLoss> ModelProbe::forward_backward(const LossWeights& weights, uint64_t seed, uint64_t step) {
  model_.set_scalars(weights, seed, step);
  model_.send_scalars();
  model_.forward(true);
  model_.run(Network::Phase::output);
  model_.run(Network::Phase::backward);
  model_.result_drain_->submit(model_.arena_->at(model_.results_));
  return model_.tile_losses(static_cast<const double*>(model_.result_drain_->wait()));
}

double ModelProbe::update(double learning_rate, double limit) {
  model_.set_scalars(learning_rate);
  model_.send_scalars();
  model_.optimize(limit);
  model_.result_drain_->submit(model_.arena_->at(model_.results_));
  return static_cast<const double*>(model_.result_drain_->wait())[model_.norm_at()];
}

std::vector<double> ModelProbe::posterior() const {
  return downloaded(model_.backend_, model_.posterior_array());
}

std::vector<double> ModelProbe::logits() const {
  return downloaded(model_.backend_, model_.arena_->array(model_.logits_));
}

const ParameterStorage& ModelProbe::storage(const std::string& name) const {
  const auto found = std::find_if(model_.parameters_.begin(), model_.parameters_.end(),
                                  [&](const ParameterStorage& s) { return s.parameter.name == name; });
  expect(found != model_.parameters_.end(), "no such parameter");
  return *found;
}

Array ModelProbe::parameter_array(const std::string& name) const {
  const ParameterStorage& s = storage(name);
  return slice(model_.arena_->array(s.master), s.offset, s.parameter.count());
}

Array ModelProbe::gradient_array(const std::string& name) const {
  const ParameterStorage& s = storage(name);
  expect(s.gradient != no_buffer, "the gradient of a Linear weight is not stored");
  return slice(model_.arena_->array(s.gradient), s.offset, s.parameter.count());
}

ModelProbe::Factors ModelProbe::gradient_factors(const std::string& name) const {
  const ParameterStorage& s = storage(name);
  for (const LinearLayer* linear : model_.linears_)
    if (&model_.parameters_[static_cast<size_t>(linear->weight)] == &s)
      return {model_.arena_->array(linear->wiring.input),
              model_.arena_->array(linear->wiring.output_gradient)};
  throw std::logic_error("internal error: not a Linear weight");
}

}  // namespace eelsvae
