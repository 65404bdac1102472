#include "engine/network/network.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <numeric>
#include <utility>

#include "kernels/philox.h"

namespace eelsvae {
namespace {

using Kind = LayerSpec::Kind;

// Parameters that share a buffer start at multiples of so many elements.
constexpr int64_t parameter_alignment = 64;

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

Network::Network(Backend& backend, NetworkSpec spec, int64_t batch, Purpose purpose)
    : backend_(backend), spec_(std::move(spec)), batch_(batch), purpose_(purpose) {
  add_parameters();
  add_layers();
  wire();
  plan_.place();
}

int64_t Network::target_count() const {
  return std::accumulate(spec_.target.begin(), spec_.target.end(), int64_t{1}, std::multiplies());
}

void Network::add_parameters() {
  const DType master = backend_.master_type(), activation = backend_.storage_type();
  const bool training = purpose_ == Purpose::training;
  auto plan = [&](const std::string& name, const std::vector<int64_t>& shape, DType type) {
    parameter_buffers_.push_back(plan_.add(name, shape, type));
    return parameter_buffers_.back();
  };
  // A Linear layer's weight is big: its gradient is never stored, and what belongs to it has buffers of its
  // own.
  struct Known {
    Parameter parameter;
    bool big;
  };
  std::vector<Known> all;
  int64_t small = 0;
  for (const LayerSpec& layer : spec_.layers)
    for (Parameter& p : layer.parameters()) {
      const bool big = layer.kind == Kind::linear && p.shape.size() == 2;
      if (!big) small += round_up(p.count(), parameter_alignment);
      all.push_back({std::move(p), big});
    }
  small_ = plan("small parameters", {small}, master);
  if (training) {
    small_gradient_ = plan("small parameters: gradient", {small}, master);
    small_m_ = plan("small parameters: Adam m", {small}, master);
    small_v_ = plan("small parameters: Adam v", {small}, master);
  }

  int64_t offset = 0;
  for (Known& known : all) {
    ParameterStorage s{std::move(known.parameter)};
    const std::string& name = s.parameter.name;
    const std::vector<int64_t>& shape = s.parameter.shape;
    if (!known.big) {
      s.compute = s.master = small_;
      s.gradient = small_gradient_;
      s.m = small_m_;
      s.v = small_v_;
      s.offset = offset;
      offset += round_up(s.parameter.count(), parameter_alignment);
    } else if (training) {
      s.master = plan(name, shape, master);
      s.m = plan(name + ": Adam m", shape, master);
      s.v = plan(name + ": Adam v", shape, master);
      s.compute = master == activation ? s.master : plan(name + ": shadow", shape, activation);
    } else {
      s.compute = s.master = plan(name, shape, activation);
    }
    parameters_.push_back(std::move(s));
  }

  for (const ParameterStorage& s : parameters_)
    states_.push_back({s.parameter.name, s.parameter, s.master, s.offset, true});
  if (training)
    for (auto [prefix, moment] :
         {std::pair{"optimizer.m.", &ParameterStorage::m}, {"optimizer.v.", &ParameterStorage::v}})
      for (const ParameterStorage& s : parameters_)
        states_.push_back({prefix + s.parameter.name, s.parameter, s.*moment, s.offset, false});
}

void Network::add_layers() {
  const Passes passes = purpose_ == Purpose::training ? Passes::training : Passes::forward;
  int parameter = 0;
  for (const LayerSpec& spec : spec_.layers) {
    std::unique_ptr<Layer> layer;
    switch (spec.kind) {
      case Kind::convolution:
      case Kind::transposed_convolution: {
        Conv3dProblem problem = spec.convolution;
        problem.batch = batch_;
        layer = std::make_unique<ConvLayer>(backend_, problem, spec.kind == Kind::transposed_convolution,
                                            spec.relu, passes, parameters_);
        break;
      }
      case Kind::linear: {
        auto linear =
            std::make_unique<LinearLayer>(backend_, LinearProblem{batch_, spec.in.count(), spec.out.count()},
                                          spec.relu, passes, parameters_);
        linears_.push_back(linear.get());
        layer = std::move(linear);
        break;
      }
      case Kind::energy_pooling:
        layer = std::make_unique<EnergyPoolingLayer>(backend_, batch_, spec.in);
        break;
      case Kind::posterior: {
        auto posterior =
            std::make_unique<PosteriorLayer>(backend_, batch_, spec.out.positions, spec.out.channels);
        posterior_ = posterior.get();
        posteriors_ = spec.out.positions;
        posterior_layer_ = layers_.size();
        layer = std::move(posterior);
        break;
      }
    }
    layer->name = spec.name;
    if (!spec.parameters().empty()) {
      layer->weight = parameter++;
      layer->bias = parameter++;
    }
    layers_.push_back(std::move(layer));
  }
}

// Names every activation and gradient and says how long each is needed. With L layers, operation k is the
// forward pass of layer k, L the loss, 2 L - k the backward pass of layer k, 2 L + 1 the update.
void Network::wire() {
  const DType master = backend_.master_type(), activation = backend_.storage_type();
  const bool training = purpose_ == Purpose::training;
  const int count = static_cast<int>(layers_.size()), loss = count, update = 2 * count + 1;
  auto backward = [&](int k) { return 2 * count - k; };
  auto kind = [&](int k) { return spec_.layers[static_cast<size_t>(k)].kind; };

  auto in_batch = [&](std::vector<int64_t> shape) {
    shape.insert(shape.begin(), batch_);
    return shape;
  };
  const std::vector<int64_t> tile_shape = in_batch(spec_.target),
                             input_shape = spec_.input.empty() ? tile_shape : in_batch(spec_.input);
  targets_.buffer = plan_.add("targets", tile_shape, master, 0, loss);
  if (!spec_.input.empty()) inputs_.buffer = plan_.add("inputs", input_shape, master, 0, 0);
  // A layer's weight gradient needs its input again in the backward pass, a Linear's even in the update.
  input_ = plan_.add("input", input_shape, activation, 0, training ? backward(0) : 0);

  BufferId previous = input_, previous_gradient = no_buffer;
  for (int k = 0; k < count; ++k) {
    Layer& layer = *layers_[static_cast<size_t>(k)];
    const std::vector<int64_t> shape = in_batch(spec_.layers[static_cast<size_t>(k)].output_shape());
    const bool is_last = k + 1 == count;
    int last_use = is_last ? loss : k + 1;
    if (training) last_use = !is_last && kind(k + 1) == Kind::linear ? update : backward(k);
    if (!is_last && kind(k + 1) == Kind::posterior) last_use = MemoryPlan::forever;  // read by posterior()
    layer.wiring.input = previous;
    layer.wiring.input_gradient = previous_gradient;
    layer.wiring.output = plan_.add(layer.name, shape, activation, k, last_use);
    if (training)
      layer.wiring.output_gradient =
          is_last ? layer.wiring.output  // the loss writes its gradient over the logits
                  : plan_.add(layer.name + ": gradient", shape, activation, backward(k + 1),
                              kind(k) == Kind::linear ? update : backward(k));
    previous = layer.wiring.output;
    previous_gradient = layer.wiring.output_gradient;
  }
  logits_ = previous;
  if (!training) reconstruction_ = plan_.add("reconstruction", tile_shape, master, loss, loss);

  size_t workspace = 0;
  for (auto& layer : layers_) {
    workspace = std::max(workspace, layer->workspace_bytes());
    if (size_t bytes = layer->packed_bytes()) {
      layer->packed = plan_.add_bytes(layer->name + ".weight: packed", bytes);
      parameter_buffers_.push_back(layer->packed);
    }
  }
  BufferId shared = plan_.add_bytes("workspace", workspace);
  for (auto& layer : layers_) layer->wiring.workspace = shared;

  scalars_ = plan_.add_bytes("step scalars", sizeof(StepScalars));
  results_ = plan_.add("losses and gradient norm", {norm_at() + 1}, DType::f64);
  if (training)
    squares_ = plan_.add("squared gradient norms", {1 + static_cast<int64_t>(linears_.size())}, DType::f64);
  if (posterior_) {
    posterior_->scalars = scalars_;
    posterior_->results = results_;
  }

  auto stage = [&](const std::string& name, size_t bytes) {
    const size_t needed = backend_.staging_bytes(bytes);
    return needed > 0 ? plan_.add_bytes("staging: " + name, needed) : no_buffer;
  };
  targets_.staging = stage("tiles", plan_[targets_.buffer].bytes);
  if (inputs_.buffer != no_buffer) inputs_.staging = stage("inputs", plan_[inputs_.buffer].bytes);
  staging_.scalars = stage("step scalars", sizeof(StepScalars));
  staging_.results = stage("losses and gradient norm", plan_[results_].bytes);
  if (posterior_) staging_.posterior = stage("posterior", plan_[posterior_->wiring.input].bytes);
  if (!training) staging_.reconstruction = stage("reconstruction", plan_[reconstruction_].bytes);
}

// Weights and optimizer state take what they take; the rest grows with the batch.
std::string Network::what_would_fit(size_t available) const {
  size_t fixed = 0;
  for (const BufferId buffer : parameter_buffers_) fixed += plan_[buffer].bytes;
  const size_t per_tile = (plan_.bytes() - std::min(plan_.bytes(), fixed)) / static_cast<size_t>(batch_);
  const size_t batch = available > fixed ? (available - fixed) / std::max<size_t>(1, per_tile) : 0;
  if (batch >= 1 && batch < static_cast<size_t>(batch_))
    return (purpose_ == Purpose::training ? "training.batch_size " : "detection.batch_size ") +
           std::to_string(batch) + " would fit";
  return "not even one tile fits; lower tiles.image_size, data.energy_range or the model's sizes";
}

void Network::allocate() {
  arena_ = std::make_unique<Arena>(backend_, plan_, what_would_fit(backend_.memory().available));
  auto at = [&](BufferId staging) { return staging == no_buffer ? nullptr : arena_->at(staging); };
  allocate(targets_);
  if (inputs_.buffer != no_buffer) allocate(inputs_);
  scalar_feed_ = backend_.make_feed(sizeof(StepScalars), at(staging_.scalars));
  result_drain_ = backend_.make_drain(plan_[results_].bytes, at(staging_.results));
  if (posterior_)
    posterior_drain_ = backend_.make_drain(plan_[posterior_->wiring.input].bytes, at(staging_.posterior));
  if (purpose_ == Purpose::inference) {
    reconstruction_drain_ = backend_.make_drain(plan_[reconstruction_].bytes, at(staging_.reconstruction));
    narrow_reconstruction_.resize(targets_.narrow.size());
  }
  list_parts();
}

void Network::allocate(Loaded& loaded) {
  const MemoryPlan::Buffer& buffer = plan_[loaded.buffer];
  loaded.feed =
      backend_.make_feed(buffer.bytes, loaded.staging == no_buffer ? nullptr : arena_->at(loaded.staging));
  if (buffer.type != DType::f32) loaded.narrow.resize(static_cast<size_t>(buffer.count()));
}

void Network::submit(Loaded& loaded) {
  const Array to = arena_->array(loaded.buffer);
  if (!loaded.narrow.empty()) {
    expect(to.type == DType::f64, "inputs or targets of an unknown type");
    std::ranges::copy(loaded.narrow, static_cast<double*>(loaded.feed->slot()));
  }
  loaded.feed->submit(to.data);
}

void Network::list_parts() {
  auto bytes = [](std::initializer_list<Array> arrays) {
    double sum = 0;
    for (const Array& array : arrays) sum += static_cast<double>(array.bytes());
    return sum;
  };
  auto add = [&](const std::string& layer, Phase phase, Operations operations) {
    for (Operation& operation : operations) parts_.push_back({layer, phase, std::move(operation)});
  };
  const Array logits = arena_->array(logits_), targets = arena_->array(targets_.buffer);
  for (const auto& layer : layers_) {
    first_parts_.push_back(parts_.size());
    add(layer->name, Phase::forward, layer->forward(*arena_));
  }
  if (purpose_ == Purpose::inference) {
    add("reconstruction", Phase::output,
        {{"forward", 0, bytes({logits, targets}), bytes({arena_->array(reconstruction_)}),
          [this] { reconstruct(); }}});
    return;
  }
  add("loss", Phase::output,
      {{"loss and gradient", 0, bytes({logits, targets}), bytes({logits}),
        [this, logits] { loss(logits); }}});
  for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer)
    add((*layer)->name, Phase::backward, (*layer)->backward(*arena_));

  StepScalars* scalars = static_cast<StepScalars*>(arena_->at(scalars_));
  const Array squares = arena_->array(squares_), norm = result(norm_at(), 1), w = arena_->array(small_),
              g = arena_->array(small_gradient_), m = arena_->array(small_m_), v = arena_->array(small_v_);
  add("parameters", Phase::update,
      {{"gradient norm", 0, bytes({g}), 8, [=, this] { backend_.squared_norm(g, slice(squares, 0, 1)); }}});
  for (size_t i = 0; i < linears_.size(); ++i)
    add(linears_[i]->name, Phase::update,
        {linears_[i]->squared_gradient_norm(*arena_, slice(squares, static_cast<int64_t>(i) + 1, 1))});
  add("parameters", Phase::update,
      {{"clip", 0, bytes({squares}), bytes({norm}),
        [=, this] { backend_.clip(squares, limit_, norm, scalars); }},
       {"Adam", 0, bytes({g, w, m, v}), bytes({w, m, v}),
        [=, this] { backend_.adam(g, scalars, w, m, v); }}});
  for (LinearLayer* linear : linears_) add(linear->name, Phase::update, {linear->update(*arena_, scalars)});
  for (auto& layer : layers_) add(layer->name, Phase::update, layer->refresh(*arena_));
}

void Network::initialize(uint64_t seed) {
  uint64_t index = 0;
  for (const State& state : states_) {
    if (!state.weight) continue;
    const double bound = state.parameter.bound;
    int64_t element = 0;
    write_state(state, [&](float* block, int64_t count) {
      // Four elements share one draw; a block may begin and end within a group of four.
      const int64_t first_group = element / 4, last_group = (element + count - 1) / 4;
#pragma omp parallel for schedule(static)
      for (int64_t group = first_group; group <= last_group; ++group) {
        Philox4 r = philox(seed, RandomStream::initialization, index, static_cast<uint64_t>(group));
        for (int64_t e = std::max(element, 4 * group); e < std::min(element + count, 4 * group + 4); ++e)
          block[e - element] = static_cast<float>(bound * (2 * uniform(r.v[e % 4]) - 1));
      }
      element += count;
    });
    ++index;
  }
  refresh();
}

void Network::load_tiles() {
  submit(targets_);
  if (inputs_.buffer == no_buffer) backend_.convert(arena_->array(targets_.buffer), arena_->array(input_));
}

void Network::load_inputs() {
  submit(inputs_);
  backend_.convert(arena_->array(inputs_.buffer), arena_->array(input_));
}

void Network::load_tiles(const float* tiles) {
  std::copy_n(tiles, plan_[targets_.buffer].count(), next_tiles());
  load_tiles();
}

void Network::send_scalars() {
  std::memcpy(scalar_feed_->slot(), &step_, sizeof step_);
  scalar_feed_->submit(arena_->at(scalars_));
}

void Network::run(Phase phase, size_t first, size_t last) {
  for (size_t i = first; i < last; ++i)
    if (parts_[i].phase == phase) parts_[i].operation.queue();
}

void Network::sample(bool sample) {
  if (posterior_) posterior_->sample = sample;
}

void Network::forward(bool sampled) {
  sample(sampled);
  run(Phase::forward);
}

void Network::loss(Array gradient) {
  backend_.reconstruction_loss(
      spec_.loss, batch_, spectra(), channels(), arena_->array(logits_), arena_->array(targets_.buffer),
      static_cast<const StepScalars*>(arena_->at(scalars_)), result(0, batch_), gradient);
}

void Network::reconstruct() {
  backend_.reconstruct(spec_.loss, batch_ * spectra(), channels(), arena_->array(logits_),
                       arena_->array(targets_.buffer), arena_->array(reconstruction_));
}

void Network::optimize(double limit) {
  limit_ = limit;
  run(Phase::update);
}

Array Network::result(int64_t first, int64_t count) const {
  return slice(arena_->array(results_), first, count);
}

std::vector<TileLoss> Network::tile_losses(const double* results) const {
  std::vector<TileLoss> tiles(static_cast<size_t>(batch_));
  for (int64_t b = 0; b < batch_; ++b) {
    const double* kl = results + batch_ + b * posteriors_;
    tiles[static_cast<size_t>(b)] = {results[b], std::accumulate(kl, kl + posteriors_, 0.0)};
  }
  return tiles;
}

TileLoss mean_of(const std::vector<TileLoss>& tiles) {
  TileLoss mean;
  for (const TileLoss& tile : tiles) {
    mean.reconstruction += tile.reconstruction / static_cast<double>(tiles.size());
    mean.kl += tile.kl / static_cast<double>(tiles.size());
  }
  return mean;
}

void Network::repeat(Repeated& pass, double limit, const std::function<void()>& operations) {
  if (!pass.warm) {
    operations();
    pass.warm = true;
    return;
  }
  if (!pass.recording || pass.limit != limit) {
    pass.recording = backend_.record(operations);
    pass.limit = limit;
  }
  pass.recording->run();
}

void Network::set_scalars(const LossWeights& weights, uint64_t seed, uint64_t step) {
  expect(purpose_ == Purpose::training, "a model built for inference cannot be trained");
  step_.seed = seed;
  step_.step = step;
  step_.reconstruction_weight = weights.dose / static_cast<double>(batch_);
  step_.kl_weight = weights.kl_weight / static_cast<double>(batch_);
}

void Network::set_scalars(double learning_rate) {
  const double t = static_cast<double>(step_.step + 1);
  step_.learning_rate = learning_rate;
  step_.bias_correction1 = 1 - std::pow(AdamConstants::beta1, t);
  step_.bias_correction2 = 1 - std::pow(AdamConstants::beta2, t);
}

void Network::start_step(const LossWeights& weights, uint64_t seed, uint64_t step, double learning_rate,
                         double limit) {
  set_scalars(weights, seed, step);
  set_scalars(learning_rate);
  send_scalars();
  repeat(training_step_, limit, [this, limit] {
    forward(true);
    run(Phase::output);
    run(Phase::backward);
    optimize(limit);
  });
  result_drain_->submit(arena_->at(results_));
  drain_posterior();
}

void Network::drain_posterior() {
  if (posterior_) posterior_drain_->submit(posterior_array().data);
}

std::vector<double> Network::drained_posterior() {
  if (!posterior_) return {};
  const Array head = posterior_array();
  return as_doubles({posterior_drain_->wait(), head.type, head.count});
}

StepResult Network::finish_step() {
  const double* results = static_cast<const double*>(result_drain_->wait());
  return {tile_losses(results), results[norm_at()], drained_posterior()};
}

std::vector<TileLoss> Network::evaluate() {
  send_scalars();
  forward(false);
  loss({});
  result_drain_->submit(arena_->at(results_));
  return tile_losses(static_cast<const double*>(result_drain_->wait()));
}

std::vector<float> Network::evaluated_reconstruction(int64_t tile) const {
  const int64_t count = target_count(), energy = channels();
  std::vector<double> x = downloaded(backend_, slice(arena_->array(logits_), tile * count, count));
  if (spec_.loss == ReconstructionLoss::cross_entropy) {
    const std::vector<double> targets =
        downloaded(backend_, slice(arena_->array(targets_.buffer), tile * count, count));
    for (int64_t first = 0; first < count; first += energy) {
      const auto logits = std::span(x).subspan(static_cast<size_t>(first), static_cast<size_t>(energy));
      const double greatest = *std::ranges::max_element(logits);
      double sum = 0, total = 0;
      for (int64_t e = first; e < first + energy; ++e) total += targets[static_cast<size_t>(e)];
      for (double& v : logits) sum += v = std::exp(v - greatest);
      for (double& v : logits) v *= total / sum;
    }
  }
  if (spec_.loss == ReconstructionLoss::poisson)
    for (double& v : x) v = std::exp(v);
  return {x.begin(), x.end()};
}

void Network::start_reconstruction(Start start) {
  expect(purpose_ == Purpose::inference, "a model built for training cannot reconstruct");
  const bool whole = start == Start::tiles;
  repeat(whole ? reconstruction_pass_ : decoding_pass_, 0, [this, whole] {
    sample(false);
    run(Phase::forward, whole ? 0 : first_parts_[posterior_layer_], parts_.size());
    run(Phase::output);
  });
  reconstruction_drain_->submit(arena_->at(reconstruction_));
  drain_posterior();
}

ReconstructedTiles Network::finish_reconstruction() {
  const void* reconstruction = reconstruction_drain_->wait();
  std::vector<double> posterior = drained_posterior();
  std::vector<float>& narrow = narrow_reconstruction_;
  if (narrow.empty()) return {static_cast<const float*>(reconstruction), std::move(posterior)};
  std::transform(static_cast<const double*>(reconstruction),
                 static_cast<const double*>(reconstruction) + narrow.size(), narrow.begin(),
                 [](double v) { return static_cast<float>(v); });
  return {narrow.data(), std::move(posterior)};
}

void Network::reconstruct(float* reconstruction) {
  start_reconstruction();
  std::copy_n(finish_reconstruction().tiles, plan_[targets_.buffer].count(), reconstruction);
}

Array Network::posterior_array() const {
  return arena_->array(posterior_->wiring.input);
}

void Network::read_state(const State& state, const std::function<void(const float*, int64_t)>& sink) const {
  read_in_file_order(backend_, state.parameter,
                     slice(arena_->array(state.buffer), state.offset, state.parameter.count()), sink);
}

void Network::write_state(const State& state, const std::function<void(float*, int64_t)>& source) {
  write_in_file_order(backend_, state.parameter,
                      slice(arena_->array(state.buffer), state.offset, state.parameter.count()), source);
}

void Network::refresh() {
  for (const ParameterStorage& s : parameters_)
    if (s.compute != s.master) backend_.convert(arena_->array(s.master), arena_->array(s.compute));
  for (auto& layer : layers_)
    for (const Operation& operation : layer->refresh(*arena_)) operation.queue();
}

}  // namespace eelsvae
