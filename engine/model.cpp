#include "engine/model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>

#include "kernels/philox.h"

namespace eelsvae {
namespace {

// The published encoder; the decoder mirrors it.
struct ConvGeometry {
  Extent3 kernel, stride, padding;
};
constexpr ConvGeometry geometry[4] = {{{1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
                                      {{3, 3, 5}, {1, 1, 2}, {1, 1, 2}},
                                      {{3, 3, 3}, {2, 2, 2}, {1, 1, 1}},
                                      {{3, 3, 3}, {2, 2, 2}, {1, 1, 1}}};
// Indices of the layers with parameters in PyTorch's two nn.Sequential.
constexpr int encoder_convolution_count = 4;
constexpr int conv_index[4] = {0, 2, 4, 6}, transposed_index[4] = {5, 7, 9, 11};

// Parameters that share a buffer start at multiples of so many elements.
constexpr int64_t parameter_alignment = 64;

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// An array in the host's memory.
std::vector<double> as_doubles(ConstArray array) {
  switch (array.type) {
    case DType::f64:
      return {array.as<double>(), array.as<double>() + array.count};
    case DType::f32:
      return {array.as<float>(), array.as<float>() + array.count};
    case DType::bf16:
      return {array.as<bfloat16>(), array.as<bfloat16>() + array.count};
  }
  return {};
}

std::vector<double> download_as_double(Backend& backend, ConstArray array) {
  std::vector<std::byte> raw(array.bytes());
  backend.download(array.data, raw.data(), array.bytes());
  return as_doubles({raw.data(), array.type, array.count});
}

}  // namespace

Conv3dProblem ModelShape::convolution(int k, int64_t batch) const {
  Conv3dProblem p;
  p.batch = batch;
  p.in = {image_size, image_size, energy};
  for (int i = 0; i <= k; ++i) {
    if (i > 0) p.in = p.out();
    p.in_channels = i == 0 ? 1 : channels[static_cast<size_t>(i) - 1];
    p.out_channels = channels[static_cast<size_t>(i)];
    p.kernel = geometry[i].kernel;
    p.stride = geometry[i].stride;
    p.padding = geometry[i].padding;
  }
  return p;
}

std::vector<Parameter> ModelShape::parameters() const {
  std::vector<Parameter> list;
  const std::string last_layer = "decoder." + std::to_string(transposed_index[3]);
  // inputs: from how many values of its input an output value is made.
  auto add = [&](const std::string& module, std::vector<int64_t> shape, std::array<int64_t, 4> view,
                 int64_t inputs, std::array<int64_t, 4> bias_view) {
    // He et al. (ICCV 2015): with variance 2 / inputs a signal passes a layer and its ReLU as strong as it
    // came, with 1 / inputs one without ReLU. With PyTorch's default, 1 / (3 inputs), it would be weakened
    // ten thousandfold on its way through twelve layers, and for many epochs the network would learn nothing
    // but the mean spectrum.
    const bool relu = module != "encoder.11" && module != last_layer;
    const double bound = std::sqrt((relu ? 6.0 : 3.0) / static_cast<double>(inputs));
    list.push_back({module + ".weight", std::move(shape), view, bound});
    int64_t bias = bias_view[0] * bias_view[1] * bias_view[2] * bias_view[3];
    list.push_back({module + ".bias", {bias}, bias_view, 0});
  };
  auto conv = [&](const std::string& module, int k, bool transposed) {
    Conv3dProblem p = convolution(k, 1);
    // A transposed layer's weight is that of its convolution: (in, out) of the one are (out, in) of the
    // other.
    int64_t bias = transposed ? p.in_channels : p.out_channels;
    // It has as many taps, but its outputs share them: with stride s, each gets every s-th.
    int64_t inputs = transposed ? p.out_channels * p.kernel.volume() / p.stride.volume()
                                : p.in_channels * p.kernel.volume();
    add(module, {p.out_channels, p.in_channels, p.kernel.h, p.kernel.w, p.kernel.e},
        {p.out_channels, p.in_channels, p.kernel.volume(), 1}, inputs, {bias, 1, 1, 1});
  };
  const int64_t c = channels[3], positions = bottleneck().volume();
  for (int k = 0; k < 4; ++k) conv("encoder." + std::to_string(conv_index[k]), k, false);
  add("encoder.9", {hidden, flattened()}, {hidden, c, positions, 1}, flattened(), {hidden, 1, 1, 1});
  add("encoder.11", {2 * latent, hidden}, {2 * latent, hidden, 1, 1}, hidden, {2 * latent, 1, 1, 1});
  add("decoder.0", {hidden, latent}, {hidden, latent, 1, 1}, latent, {hidden, 1, 1, 1});
  add("decoder.2", {flattened(), hidden}, {1, c, positions, hidden}, hidden, {1, c, positions, 1});
  for (int k = 0; k < 4; ++k) conv("decoder." + std::to_string(transposed_index[k]), 3 - k, true);
  return list;
}

int64_t ModelShape::parameter_count() const {
  int64_t sum = 0;
  for (const Parameter& p : parameters()) sum += p.count();
  return sum;
}

ModelShape model_shape(const TilesConfig& tiles, const ModelConfig& model, int64_t energy) {
  if (tiles.image_size < 4 || tiles.image_size % 4 != 0)
    throw UserError("tiles.image_size: " + std::to_string(tiles.image_size) + " is not a multiple of 4");
  if (energy < 16 || energy % 16 != 0)
    throw UserError("the network needs a multiple of 16 energy channels, not " + std::to_string(energy));
  return {tiles.image_size, energy, model.channels, model.hidden, model.latent_dim};
}

Model::Model(Backend& backend, const ModelShape& shape, ReconstructionLoss loss, int64_t batch,
             Purpose purpose)
    : backend_(backend), shape_(shape), loss_(loss), batch_(batch), purpose_(purpose) {
  add_parameters();
  add_layers();
  wire();
  plan_.place();
}

void Model::add_parameters() {
  const DType master = backend_.master_type(), activation = backend_.activation_type();
  const bool training = purpose_ == Purpose::training;
  std::vector<Parameter> all = shape_.parameters();
  auto is_linear_weight = [](const Parameter& p) { return p.shape.size() == 2; };

  int64_t small = 0;
  for (const Parameter& p : all)
    if (!is_linear_weight(p)) small += round_up(p.count(), parameter_alignment);
  small_ = plan_.add("small parameters", {small}, master);
  if (training) {
    small_gradient_ = plan_.add("small parameters: gradient", {small}, master);
    small_m_ = plan_.add("small parameters: Adam m", {small}, master);
    small_v_ = plan_.add("small parameters: Adam v", {small}, master);
  }

  int64_t offset = 0;
  for (Parameter& p : all) {
    ParameterStorage s{std::move(p)};
    const std::string& name = s.parameter.name;
    if (!is_linear_weight(s.parameter)) {
      s.compute = s.master = small_;
      s.gradient = small_gradient_;
      s.m = small_m_;
      s.v = small_v_;
      s.offset = offset;
      offset += round_up(s.parameter.count(), parameter_alignment);
    } else if (training) {
      s.master = plan_.add(name, s.parameter.shape, master);
      s.m = plan_.add(name + ": Adam m", s.parameter.shape, master);
      s.v = plan_.add(name + ": Adam v", s.parameter.shape, master);
      s.compute =
          master == activation ? s.master : plan_.add(name + ": shadow", s.parameter.shape, activation);
    } else {
      s.compute = s.master = plan_.add(name, s.parameter.shape, activation);
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

void Model::add_layers() {
  const Passes passes = purpose_ == Purpose::training ? Passes::training : Passes::forward;
  int parameter = 0;
  auto with_parameters = [&](std::unique_ptr<Layer> layer) {
    layer->weight = parameter++;
    layer->bias = parameter++;
    layers_.push_back(std::move(layer));
  };
  auto conv = [&](int k, bool transposed, bool relu) {
    with_parameters(std::make_unique<ConvLayer>(backend_, shape_.convolution(k, batch_), transposed, relu,
                                                passes, parameters_));
  };
  auto linear = [&](int64_t in, int64_t out, bool relu) {
    auto layer =
        std::make_unique<LinearLayer>(backend_, LinearProblem{batch_, in, out}, relu, passes, parameters_);
    linears_.push_back(layer.get());
    with_parameters(std::move(layer));
  };
  for (int k = 0; k < 4; ++k) conv(k, false, true);
  linear(shape_.flattened(), shape_.hidden, true);
  linear(shape_.hidden, 2 * shape_.latent, false);
  auto posterior = std::make_unique<PosteriorLayer>(backend_, batch_, shape_.latent);
  posterior_ = posterior.get();
  layers_.push_back(std::move(posterior));
  linear(shape_.latent, shape_.hidden, true);
  linear(shape_.hidden, shape_.flattened(), true);
  for (int k = 3; k >= 0; --k) conv(k, true, k > 0);
}

// Names every activation and gradient and says how long each is needed. With L layers, operation k is the
// forward pass of layer k, L the loss, 2 L - k the backward pass of layer k, 2 L + 1 the update.
void Model::wire() {
  const DType master = backend_.master_type(), activation = backend_.activation_type();
  const bool training = purpose_ == Purpose::training;
  const int count = static_cast<int>(layers_.size()), loss = count, update = 2 * count + 1;
  auto backward = [&](int k) { return 2 * count - k; };
  auto is_linear = [&](int k) {
    return dynamic_cast<LinearLayer*>(layers_[static_cast<size_t>(k)].get()) != nullptr;
  };

  struct Activation {
    std::string name;
    std::vector<int64_t> shape;
  };
  std::vector<Activation> outputs;
  auto conv_output = [&](const std::string& name, Extent3 e, int64_t channels) {
    outputs.push_back({name, {batch_, e.h, e.w, e.e, channels}});
  };
  for (int k = 0; k < 4; ++k)
    conv_output("encoder." + std::to_string(conv_index[k]), shape_.convolution(k, batch_).out(),
                shape_.channels[static_cast<size_t>(k)]);
  outputs.push_back({"encoder.9", {batch_, shape_.hidden}});
  outputs.push_back({"encoder.11", {batch_, 2 * shape_.latent}});
  outputs.push_back({"latent", {batch_, shape_.latent}});
  outputs.push_back({"decoder.0", {batch_, shape_.hidden}});
  outputs.push_back({"decoder.2", {batch_, shape_.flattened()}});
  for (int k = 0; k < 4; ++k) {
    Conv3dProblem p = shape_.convolution(3 - k, batch_);
    conv_output("decoder." + std::to_string(transposed_index[k]), p.in, p.in_channels);
  }

  const std::vector<int64_t> tile_shape = {batch_, shape_.image_size, shape_.image_size, shape_.energy};
  targets_ = plan_.add("targets", tile_shape, master, 0, loss);
  // A layer's weight gradient needs its input again in the backward pass, a Linear's even in the update.
  input_ = plan_.add("input", tile_shape, activation, 0, training ? backward(0) : 0);

  BufferId previous = input_, previous_gradient = no_buffer;
  for (int k = 0; k < count; ++k) {
    Layer& layer = *layers_[static_cast<size_t>(k)];
    const Activation& output = outputs[static_cast<size_t>(k)];
    const bool is_last = k + 1 == count;
    int last_use = is_last ? loss : k + 1;
    if (training) last_use = !is_last && is_linear(k + 1) ? update : backward(k);
    if (output.name == "encoder.11") last_use = MemoryPlan::forever;  // read by posterior()
    layer.wiring.input = previous;
    layer.wiring.input_gradient = previous_gradient;
    layer.wiring.output = plan_.add(output.name, output.shape, activation, k, last_use);
    if (training)
      layer.wiring.output_gradient =
          is_last ? layer.wiring.output  // the loss writes its gradient over the logits
                  : plan_.add(output.name + ": gradient", output.shape, activation, backward(k + 1),
                              is_linear(k) ? update : backward(k));
    previous = layer.wiring.output;
    previous_gradient = layer.wiring.output_gradient;
  }
  logits_ = previous;
  if (!training) reconstruction_ = plan_.add("reconstruction", tile_shape, master, loss, loss);

  size_t workspace = 0;
  for (auto& layer : layers_) {
    workspace = std::max(workspace, layer->workspace_bytes());
    if (size_t bytes = layer->packed_bytes())
      layer->packed =
          plan_.add_bytes(parameters_[static_cast<size_t>(layer->weight)].parameter.name + ": packed", bytes);
  }
  BufferId shared = plan_.add_bytes("workspace", workspace);
  for (auto& layer : layers_) layer->wiring.workspace = shared;

  scalars_ = plan_.add_bytes("step scalars", sizeof(StepScalars));
  results_ = plan_.add("losses and gradient norm", {2 * batch_ + 1}, DType::f64);
  if (training)
    squares_ = plan_.add("squared gradient norms", {1 + static_cast<int64_t>(linears_.size())}, DType::f64);
  posterior_->scalars = scalars_;
  posterior_->results = results_;

  auto stage = [&](const std::string& name, size_t bytes) {
    const size_t needed = backend_.staging_bytes(bytes);
    return needed > 0 ? plan_.add_bytes("staging: " + name, needed) : no_buffer;
  };
  staging_.tiles = stage("tiles", plan_[targets_].bytes);
  staging_.scalars = stage("step scalars", sizeof(StepScalars));
  staging_.results = stage("losses and gradient norm", plan_[results_].bytes);
  staging_.posterior = stage("encoder.11", plan_[posterior_->wiring.input].bytes);
  if (!training) staging_.reconstruction = stage("reconstruction", plan_[reconstruction_].bytes);
}

// Weights and optimizer state take what they take; the rest grows with the batch.
std::string Model::what_would_fit(size_t available) const {
  size_t fixed = 0;
  auto belongs_to_parameters = [](const std::string& name) {
    return name.starts_with("encoder.") || name.starts_with("decoder.") ||
           name.starts_with("small parameters");
  };
  for (const MemoryPlan::Buffer& buffer : plan_.buffers())
    if (buffer.last == MemoryPlan::forever && belongs_to_parameters(buffer.name)) fixed += buffer.bytes;
  const size_t per_tile = (plan_.bytes() - std::min(plan_.bytes(), fixed)) / static_cast<size_t>(batch_);
  const size_t batch = available > fixed ? (available - fixed) / std::max<size_t>(1, per_tile) : 0;
  if (batch >= 1 && batch < static_cast<size_t>(batch_))
    return (purpose_ == Purpose::training ? "training.batch_size " : "detection.batch_size ") +
           std::to_string(batch) + " would fit";
  return "not even one tile fits; lower tiles.image_size, data.energy_range or the model's sizes";
}

void Model::allocate() {
  arena_ = std::make_unique<Arena>(backend_, plan_, what_would_fit(backend_.memory().available));
  auto at = [&](BufferId staging) { return staging == no_buffer ? nullptr : arena_->at(staging); };
  tile_feed_ = backend_.make_feed(plan_[targets_].bytes, at(staging_.tiles));
  scalar_feed_ = backend_.make_feed(sizeof(StepScalars), at(staging_.scalars));
  result_drain_ = backend_.make_drain(plan_[results_].bytes, at(staging_.results));
  posterior_drain_ = backend_.make_drain(plan_[posterior_->wiring.input].bytes, at(staging_.posterior));
  if (purpose_ == Purpose::inference)
    reconstruction_drain_ = backend_.make_drain(plan_[reconstruction_].bytes, at(staging_.reconstruction));
  if (backend_.master_type() != DType::f32) narrow_.resize(static_cast<size_t>(plan_[targets_].count()));
  list_parts();
}

void Model::list_parts() {
  auto bytes = [](std::initializer_list<Array> arrays) {
    double sum = 0;
    for (const Array& array : arrays) sum += static_cast<double>(array.bytes());
    return sum;
  };
  auto add = [&](const std::string& layer, Phase phase, Operations operations) {
    for (Operation& operation : operations) parts_.push_back({layer, phase, std::move(operation)});
  };
  auto name_of_layer = [&](const Layer& layer) {
    if (layer.weight < 0) return std::string("latent");
    const std::string& weight = parameters_[static_cast<size_t>(layer.weight)].parameter.name;
    return weight.substr(0, weight.rfind('.'));
  };

  const Array logits = arena_->array(logits_), targets = arena_->array(targets_);
  for (auto& layer : layers_) {
    if (layer->wiring.input == layers_[encoder_convolution_count]->wiring.input)
      encoder_parts_ = parts_.size();
    add(name_of_layer(*layer), Phase::forward, layer->forward(*arena_));
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
    add(name_of_layer(**layer), Phase::backward, (*layer)->backward(*arena_));

  StepScalars* scalars = static_cast<StepScalars*>(arena_->at(scalars_));
  const Array squares = arena_->array(squares_), norm = result(2 * batch_, 1), w = arena_->array(small_),
              g = arena_->array(small_gradient_), m = arena_->array(small_m_), v = arena_->array(small_v_);
  add("parameters", Phase::update,
      {{"gradient norm", 0, bytes({g}), 8, [=, this] { backend_.squared_norm(g, slice(squares, 0, 1)); }}});
  for (size_t i = 0; i < linears_.size(); ++i)
    add(name_of_layer(*linears_[i]), Phase::update,
        {linears_[i]->squared_gradient_norm(*arena_, slice(squares, static_cast<int64_t>(i) + 1, 1))});
  add("parameters", Phase::update,
      {{"clip", 0, bytes({squares}), bytes({norm}),
        [=, this] { backend_.clip(squares, limit_, norm, scalars); }},
       {"Adam", 0, bytes({g, w, m, v}), bytes({w, m, v}),
        [=, this] { backend_.adam(g, scalars, w, m, v); }}});
  for (LinearLayer* linear : linears_)
    add(name_of_layer(*linear), Phase::update, {linear->update(*arena_, scalars)});
  for (auto& layer : layers_) add(name_of_layer(*layer), Phase::update, layer->refresh(*arena_));
}

void Model::initialize(uint64_t seed) {
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

float* Model::next_tiles() {
  return narrow_.empty() ? static_cast<float*>(tile_feed_->slot()) : narrow_.data();
}

void Model::load_tiles() {
  Array targets = arena_->array(targets_);
  if (!narrow_.empty()) {
    expect(targets.type == DType::f64, "targets of an unknown type");
    std::copy(narrow_.begin(), narrow_.end(), static_cast<double*>(tile_feed_->slot()));
  }
  tile_feed_->submit(targets.data);
  backend_.convert(targets, arena_->array(input_));
}

void Model::load_tiles(const float* tiles) {
  std::copy_n(tiles, plan_[targets_].count(), next_tiles());
  load_tiles();
}

void Model::send_scalars() {
  std::memcpy(scalar_feed_->slot(), &step_, sizeof step_);
  scalar_feed_->submit(arena_->at(scalars_));
}

void Model::run(Phase phase, size_t first) {
  for (size_t i = first; i < parts_.size(); ++i)
    if (parts_[i].phase == phase) parts_[i].operation.queue();
}

void Model::forward(bool sample) {
  posterior_->sample = sample;
  run(Phase::forward);
}

void Model::loss(Array gradient) {
  backend_.reconstruction_loss(loss_, batch_, shape_.image_size * shape_.image_size, shape_.energy,
                               arena_->array(logits_), arena_->array(targets_),
                               static_cast<const StepScalars*>(arena_->at(scalars_)), result(0, batch_),
                               gradient);
}

void Model::reconstruct() {
  backend_.reconstruct(loss_, batch_ * shape_.image_size * shape_.image_size, shape_.energy,
                       arena_->array(logits_), arena_->array(targets_), arena_->array(reconstruction_));
}

void Model::optimize(double limit) {
  limit_ = limit;
  run(Phase::update);
}

Array Model::result(int64_t first, int64_t count) const {
  return slice(arena_->array(results_), first, count);
}

std::vector<TileLoss> Model::tile_losses(const double* results) const {
  std::vector<TileLoss> tiles(static_cast<size_t>(batch_));
  for (int64_t b = 0; b < batch_; ++b) tiles[static_cast<size_t>(b)] = {results[b], results[batch_ + b]};
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

void Model::repeat(Repeated& pass, double limit, const std::function<void()>& operations) {
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

void Model::set_scalars(const LossWeights& weights, uint64_t seed, uint64_t step) {
  expect(purpose_ == Purpose::training, "a model built for inference cannot be trained");
  step_.seed = seed;
  step_.step = step;
  step_.reconstruction_weight = weights.dose / static_cast<double>(batch_);
  step_.kl_weight = weights.kl_weight / static_cast<double>(batch_);
}

void Model::set_scalars(double learning_rate) {
  const double t = static_cast<double>(step_.step + 1);
  step_.learning_rate = learning_rate;
  step_.bias_correction1 = 1 - std::pow(AdamConstants::beta1, t);
  step_.bias_correction2 = 1 - std::pow(AdamConstants::beta2, t);
}

void Model::start_step(const LossWeights& weights, uint64_t seed, uint64_t step, double learning_rate,
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
  posterior_drain_->submit(arena_->at(posterior_->wiring.input));
}

StepResult Model::finish_step() {
  const double* results = static_cast<const double*>(result_drain_->wait());
  const Array head = arena_->array(posterior_->wiring.input);
  return {tile_losses(results), results[2 * batch_],
          as_doubles({posterior_drain_->wait(), head.type, head.count})};
}

std::vector<TileLoss> Model::forward_backward(const LossWeights& weights, uint64_t seed, uint64_t step) {
  set_scalars(weights, seed, step);
  send_scalars();
  forward(true);
  run(Phase::output);
  run(Phase::backward);
  result_drain_->submit(arena_->at(results_));
  return tile_losses(static_cast<const double*>(result_drain_->wait()));
}

double Model::update(double learning_rate, double limit) {
  set_scalars(learning_rate);
  send_scalars();
  optimize(limit);
  result_drain_->submit(arena_->at(results_));
  return static_cast<const double*>(result_drain_->wait())[2 * batch_];
}

std::vector<TileLoss> Model::evaluate() {
  send_scalars();
  forward(false);
  loss({});
  result_drain_->submit(arena_->at(results_));
  return tile_losses(static_cast<const double*>(result_drain_->wait()));
}

std::vector<float> Model::evaluated_reconstruction(int64_t tile) const {
  const int64_t count = shape_.tile_count(), energy = shape_.energy;
  std::vector<double> x = download_as_double(backend_, slice(arena_->array(logits_), tile * count, count));
  if (loss_ == ReconstructionLoss::cross_entropy) {
    const std::vector<double> targets =
        download_as_double(backend_, slice(arena_->array(targets_), tile * count, count));
    for (int64_t first = 0; first < count; first += energy) {
      const auto logits = std::span(x).subspan(static_cast<size_t>(first), static_cast<size_t>(energy));
      const double greatest = *std::ranges::max_element(logits);
      double sum = 0, total = 0;
      for (int64_t e = first; e < first + energy; ++e) total += targets[static_cast<size_t>(e)];
      for (double& v : logits) sum += v = std::exp(v - greatest);
      for (double& v : logits) v *= total / sum;
    }
  }
  return {x.begin(), x.end()};
}

void Model::start_reconstruction(Start start) {
  expect(purpose_ == Purpose::inference, "a model built for training cannot reconstruct");
  const bool whole = start == Start::tiles;
  repeat(whole ? reconstruction_pass_ : decoding_pass_, 0, [this, whole] {
    posterior_->sample = false;
    run(Phase::forward, whole ? 0 : encoder_parts_);
    run(Phase::output);
  });
  reconstruction_drain_->submit(arena_->at(reconstruction_));
  posterior_drain_->submit(arena_->at(posterior_->wiring.input));
}

ReconstructedTiles Model::finish_reconstruction() {
  const void* reconstruction = reconstruction_drain_->wait();
  const Array head = arena_->array(posterior_->wiring.input);
  std::vector<double> posterior = as_doubles({posterior_drain_->wait(), head.type, head.count});
  if (narrow_.empty()) return {static_cast<const float*>(reconstruction), std::move(posterior)};
  std::transform(static_cast<const double*>(reconstruction),
                 static_cast<const double*>(reconstruction) + narrow_.size(), narrow_.begin(),
                 [](double v) { return static_cast<float>(v); });
  return {narrow_.data(), std::move(posterior)};
}

void Model::reconstruct(float* reconstruction) {
  start_reconstruction();
  std::copy_n(finish_reconstruction().tiles, plan_[targets_].count(), reconstruction);
}

std::vector<Model::Convolution> Model::encoder_convolutions() const {
  std::vector<Convolution> convolutions;
  for (int k = 0; k < encoder_convolution_count; ++k) {
    const Layer& layer = *layers_[static_cast<size_t>(k)];
    const ParameterStorage& bias = parameters_[static_cast<size_t>(layer.bias)];
    convolutions.push_back({shape_.convolution(k, 1), arena_->at(layer.packed),
                            slice(arena_->array(bias.compute), bias.offset, bias.parameter.count())});
  }
  return convolutions;
}

Array Model::features() const {
  return arena_->array(layers_[encoder_convolution_count]->wiring.input);
}

std::vector<double> Model::posterior() const {
  return download_as_double(backend_, arena_->array(posterior_->wiring.input));
}

std::vector<double> Model::logits() const {
  return download_as_double(backend_, arena_->array(logits_));
}

void Model::read_state(const State& state, const std::function<void(const float*, int64_t)>& sink) const {
  read_in_file_order(backend_, state.parameter,
                     slice(arena_->array(state.buffer), state.offset, state.parameter.count()), sink);
}

void Model::write_state(const State& state, const std::function<void(float*, int64_t)>& source) {
  write_in_file_order(backend_, state.parameter,
                      slice(arena_->array(state.buffer), state.offset, state.parameter.count()), source);
}

void Model::refresh() {
  for (const ParameterStorage& s : parameters_)
    if (s.compute != s.master) backend_.convert(arena_->array(s.master), arena_->array(s.compute));
  for (auto& layer : layers_)
    for (const Operation& operation : layer->refresh(*arena_)) operation.queue();
}

const ParameterStorage& Model::storage(const std::string& name) const {
  auto found = std::find_if(parameters_.begin(), parameters_.end(),
                            [&](const ParameterStorage& s) { return s.parameter.name == name; });
  expect(found != parameters_.end(), "no such parameter");
  return *found;
}

Array Model::parameter_array(const std::string& name) const {
  const ParameterStorage& s = storage(name);
  return slice(arena_->array(s.master), s.offset, s.parameter.count());
}

Array Model::gradient_array(const std::string& name) const {
  const ParameterStorage& s = storage(name);
  expect(s.gradient != no_buffer, "the gradient of a Linear weight is not stored");
  return slice(arena_->array(s.gradient), s.offset, s.parameter.count());
}

Model::Factors Model::gradient_factors(const std::string& name) const {
  const ParameterStorage& s = storage(name);
  for (const LinearLayer* linear : linears_)
    if (&parameters_[static_cast<size_t>(linear->weight)] == &s)
      return {arena_->array(linear->wiring.input), arena_->array(linear->wiring.output_gradient)};
  throw std::logic_error("internal error: not a Linear weight");
}

}  // namespace eelsvae
