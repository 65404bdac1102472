#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/network/architecture.h"
#include "engine/network/layers.h"
#include "engine/network/memory_plan.h"

namespace eelsvae {

enum class Purpose { training, inference };

// The factors on a tile's two terms; the loss of a batch is the mean over its tiles of
//   dose * reconstruction + kl_weight * KL.
struct LossWeights {
  double dose = 1, kl_weight = 1;
};

// A tile's two terms, without dose and kl_weight. KL is 0 where the network has no posterior.
struct TileLoss {
  double reconstruction = 0, kl = 0;
  double total(const LossWeights& w) const { return w.dose * reconstruction + w.kl_weight * kl; }
};
TileLoss mean_of(const std::vector<TileLoss>& tiles);

// What a training step leaves for the host.
struct StepResult {
  std::vector<TileLoss> tiles;
  double gradient_norm = 0;  // before clipping
  // Mean and log-variance, (batch, posteriors of a tile, 2 latent); empty without one.
  std::vector<double> posterior;
};

// What an inference pass leaves for the host.
struct ReconstructedTiles {
  const float* tiles = nullptr;   // (batch, target...), in the targets' units
  std::vector<double> posterior;  // as in StepResult
};

// A chain of layers, what it is given and what it is to make of that; sizes are those of one tile, as the
// items of a batch are called whatever they are.
struct NetworkSpec {
  std::vector<LayerSpec> layers;
  std::vector<int64_t> target;  // of the last layer's output; the loss's softmax is over the last axis
  std::vector<int64_t> input;   // empty: the input is the target
  ReconstructionLoss loss = ReconstructionLoss::cross_entropy;
};

// Layers, loss and optimizer on one backend. Building one chooses algorithms and plans memory; allocate()
// takes the memory, once, for everything that follows.
class Network {
 public:
  Network(Backend& backend, NetworkSpec spec, int64_t batch, Purpose purpose);
  Network(const Network&) = delete;  // layers and the arena refer to it
  Network& operator=(const Network&) = delete;

  ReconstructionLoss loss_kind() const { return spec_.loss; }
  int64_t batch() const { return batch_; }
  Purpose purpose() const { return purpose_; }
  Backend& backend() const { return backend_; }
  const MemoryPlan& plan() const { return plan_; }

  // Throws UserError where the plan does not fit the device, with the batch that would.
  void allocate();

  // Weights uniform within +-Parameter::bound, biases zero. A number depends on (seed, parameter, element in
  // PyTorch's order) only.
  void initialize(uint64_t seed);

  // Tiles (batch, target...) are the network's target, and its input where that is the same. load_tiles()
  // takes those that were written to next_tiles(), or a copy of any others; they are used from the next pass
  // on. While a device computes, the tiles of its next step can be filled in and loaded.
  float* next_tiles() { return targets_.next(); }
  void load_tiles();
  void load_tiles(const float* tiles);
  // The same of an input of its own, (batch, input...).
  float* next_inputs() { return inputs_.next(); }
  void load_inputs();

  // One training step with what is loaded: forward and backward pass, global gradient norm over every
  // parameter, clipping at `limit` (0: none), one Adam step, number step + 1. The posterior's noise is drawn
  // from (seed, step). start_step() only queues where the device can; finish_step() waits.
  void start_step(const LossWeights& weights, uint64_t seed, uint64_t step, double learning_rate,
                  double limit);
  StepResult finish_step();

  // The loss of every loaded tile at the posterior's mean. A network built for inference keeps no tiles
  // beyond a pass, be it this or a reconstruction: its memory serves later layers.
  std::vector<TileLoss> evaluate();
  // After evaluate(), also in training: what the network made of loaded tile number `tile` at the posterior's
  // mean, in the targets' units, as reconstruct() has it; (target...). Made on the host: training plans no
  // memory for it.
  std::vector<float> evaluated_reconstruction(int64_t tile) const;
  // What the network makes of what is loaded at the posterior's mean. start_reconstruction() only queues
  // where the device can, up to two at a time; finish_reconstruction() waits for the oldest, whose tiles stay
  // until the start after the next.
  enum class Start { tiles, posterior };
  void start_reconstruction(Start start = Start::tiles);
  ReconstructedTiles finish_reconstruction();
  void reconstruct(float* reconstruction);  // (batch, target...)

  // Everything that a training step queues between loading tiles and returning results, or that a
  // reconstruction does, in order. `output` is what is made of the logits: the loss with its gradient, or the
  // reconstruction. Any part may be queued again right after itself, which only Adam's moments (and, unless
  // the last step's learning rate was 0, the weights) remember. Empty before allocate().
  enum class Phase { forward, output, backward, update };
  struct Part {
    std::string layer;  // "encoder.0", "latent", "loss"; "parameters" for all but the Linear weights
    Phase phase;
    Operation operation;
  };
  const std::vector<Part>& parts() const { return parts_; }

  // Named state that files hold: weights by their PyTorch names and, in training, Adam's moments as
  // "optimizer.m.<name>" and "optimizer.v.<name>".
  struct State {
    std::string name;
    Parameter parameter;
    BufferId buffer;
    int64_t offset;
    bool weight;
  };
  const std::vector<State>& states() const { return states_; }
  // Blocks in PyTorch's order; see parameter.h.
  void read_state(const State& state, const std::function<void(const float*, int64_t)>& sink) const;
  void write_state(const State& state, const std::function<void(float*, int64_t)>& source);
  // To be called after weights were written: remakes what is derived from them.
  void refresh();

 protected:
  // Layers, one by one, and the first part of the k-th layer's forward pass.
  const std::vector<std::unique_ptr<Layer>>& layers() const { return layers_; }
  const LayerSpec& spec(size_t layer) const { return spec_.layers[layer]; }
  size_t first_part(size_t layer) const { return first_parts_[layer]; }
  size_t posterior_layer() const { return posterior_layer_; }
  void run_forward(size_t first_part, size_t last_part) { run(Phase::forward, first_part, last_part); }
  const ParameterStorage& parameter(int index) const { return parameters_[static_cast<size_t>(index)]; }
  const Arena& arena() const { return *arena_; }
  Array posterior_array() const;  // mean and log-variance; of a network that has one

 private:
  friend class ModelProbe;  // tests look inside through it

  // What is loaded from the host: floats, which a device of another type gets converted.
  struct Loaded {
    BufferId buffer = no_buffer, staging = no_buffer;
    std::unique_ptr<Feed> feed;
    std::vector<float> narrow;  // where the buffer's type is not f32
    float* next() { return narrow.empty() ? static_cast<float*>(feed->slot()) : narrow.data(); }
  };

  std::string what_would_fit(size_t available) const;
  void add_parameters();
  void add_layers();
  void wire();
  void allocate(Loaded& loaded);
  void submit(Loaded& loaded);
  // What a step depends on; the second needs the first.
  void set_scalars(const LossWeights& weights, uint64_t seed, uint64_t step);
  void set_scalars(double learning_rate);
  void list_parts();
  // Each queues a piece of a pass.
  void send_scalars();
  void run(Phase phase) { run(phase, 0, parts_.size()); }
  void run(Phase phase, size_t first, size_t last);  // of parts [first, last)
  void sample(bool sample);
  void forward(bool sample);
  void loss(Array gradient);
  void reconstruct();
  void optimize(double limit);

  std::vector<TileLoss> tile_losses(const double* results) const;
  Array result(int64_t first, int64_t count) const;
  // What lies on the way to the host, if there is a posterior.
  void drain_posterior();
  std::vector<double> drained_posterior();
  int64_t target_count() const;                                   // of one tile
  int64_t norm_at() const { return batch_ * (1 + posteriors_); }  // in results_
  int64_t channels() const { return spec_.target.back(); }
  int64_t spectra() const { return target_count() / channels(); }  // of one tile

  Backend& backend_;
  NetworkSpec spec_;
  int64_t batch_;
  Purpose purpose_;

  MemoryPlan plan_;
  std::vector<BufferId> parameter_buffers_;  // what does not grow with the batch
  std::vector<ParameterStorage> parameters_;
  std::vector<State> states_;
  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<LinearLayer*> linears_;
  PosteriorLayer* posterior_ = nullptr;  // null: there is none
  size_t posterior_layer_ = 0;
  int64_t posteriors_ = 1;  // of a tile

  // Small parameters (all but the Linear weights) share one buffer each for values, gradients and moments.
  BufferId small_ = no_buffer, small_gradient_ = no_buffer, small_m_ = no_buffer, small_v_ = no_buffer;
  BufferId input_ = no_buffer, logits_ = no_buffer, reconstruction_ = no_buffer;
  BufferId scalars_ = no_buffer, squares_ = no_buffer;
  // Per tile the reconstruction loss, then per posterior the KL divergence, then the gradient norm; f64.
  BufferId results_ = no_buffer;
  Loaded targets_, inputs_;
  // Where data rests on its way between host and device.
  struct Staging {
    BufferId scalars, results, posterior, reconstruction;
  } staging_ = {no_buffer, no_buffer, no_buffer, no_buffer};
  StepScalars step_;
  double limit_ = 0;  // of the gradient norm, as in start_step()
  std::unique_ptr<Arena> arena_;
  std::vector<Part> parts_;
  std::vector<size_t> first_parts_;  // of layers_' forward passes, one by one
  std::unique_ptr<Feed> scalar_feed_;
  std::unique_ptr<Drain> result_drain_, posterior_drain_, reconstruction_drain_;
  std::vector<float> narrow_reconstruction_;  // as floats, where the master type is not f32

  // A pass that is done again and again. The first time it is queued as it is, since libraries make ready
  // what they need at first use, which must not happen while a recording is made.
  struct Repeated {
    bool warm = false;
    std::unique_ptr<Recording> recording;
    double limit = 0;  // of the norm, which the recording holds
  } training_step_, reconstruction_pass_, decoding_pass_;
  void repeat(Repeated& pass, double limit, const std::function<void()>& operations);
};

}  // namespace eelsvae
