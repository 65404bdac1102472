#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/network/architecture.h"
#include "engine/network/layers.h"
#include "engine/network/memory_plan.h"

namespace eelsvae {

// Sizes of the network. A tile is (image_size, image_size, energy).
enum class Purpose { training, inference };

// The factors on a tile's two terms; the loss of a batch is the mean over its tiles of
//   dose * reconstruction + kl_weight * KL.
struct LossWeights {
  double dose = 1, kl_weight = 1;
};

// A tile's two terms, without dose and kl_weight.
struct TileLoss {
  double reconstruction = 0, kl = 0;
  double total(const LossWeights& w) const { return w.dose * reconstruction + w.kl_weight * kl; }
};
TileLoss mean_of(const std::vector<TileLoss>& tiles);

// What a training step leaves for the host.
struct StepResult {
  std::vector<TileLoss> tiles;
  double gradient_norm = 0;       // before clipping
  std::vector<double> posterior;  // mean and log-variance, (batch, 2 latent)
};

// What an inference pass leaves for the host.
struct ReconstructedTiles {
  const float* tiles = nullptr;   // (batch, image_size, image_size, energy), in the targets' units
  std::vector<double> posterior;  // mean and log-variance, (batch, 2 latent)
};

// The 3D-CVAE: network, loss and optimizer on one backend. Building one chooses algorithms and plans memory;
// allocate() takes the memory, once, for everything that follows.
class Model {
 public:
  Model(Backend& backend, const ModelShape& shape, ReconstructionLoss loss, int64_t batch, Purpose purpose);
  ReconstructionLoss loss_kind() const { return loss_; }
  Model(const Model&) = delete;  // layers and the arena refer to it
  Model& operator=(const Model&) = delete;

  const ModelShape& shape() const { return shape_; }
  int64_t batch() const { return batch_; }
  Purpose purpose() const { return purpose_; }
  Backend& backend() const { return backend_; }
  const MemoryPlan& plan() const { return plan_; }

  // Throws UserError where the plan does not fit the device, with the batch that would.
  void allocate();

  // Weights uniform within +-Parameter::bound, biases zero. A number depends on (seed, parameter, element in
  // PyTorch's order) only.
  void initialize(uint64_t seed);

  // Tiles (batch, image_size, image_size, energy) are the network's input and target. load_tiles() takes
  // those that were written to next_tiles(), or a copy of any others; they are used from the next pass on.
  // While a device computes, the tiles of its next step can be filled in and loaded.
  float* next_tiles();
  void load_tiles();
  void load_tiles(const float* tiles);

  // One training step with the loaded tiles: forward and backward pass, global gradient norm over every
  // parameter, clipping at `limit` (0: none), one Adam step, number step + 1. The posterior's noise is drawn
  // from (seed, step). start_step() only queues where the device can; finish_step() waits.
  void start_step(const LossWeights& weights, uint64_t seed, uint64_t step, double learning_rate,
                  double limit);
  StepResult finish_step();

  // The loss of every loaded tile at the posterior's mean. A model built for inference keeps no tiles beyond
  // a pass, be it this or a reconstruction: its memory serves later layers.
  std::vector<TileLoss> evaluate();
  // After evaluate(), also in training: what the network made of loaded tile number `tile` at the posterior's
  // mean, in the targets' units, as reconstruct() has it; (image_size, image_size, energy). Made on the host:
  // training plans no memory for it.
  std::vector<float> evaluated_reconstruction(int64_t tile) const;
  // What the network makes of the loaded tiles at the posterior's mean. start_reconstruction() only queues
  // where the device can, up to two at a time; finish_reconstruction() waits for the oldest, whose tiles stay
  // until the start after the next.
  enum class Start { tiles, posterior };
  void start_reconstruction(Start start = Start::tiles);
  ReconstructedTiles finish_reconstruction();
  void reconstruct(float* reconstruction);  // (batch, image_size, image_size, energy)

  // For those who run the encoder's convolutions themselves: the convolutions, for one tile, and where their
  // features go, (batch, flattened). encode_features() queues what makes the posterior of them, mean and
  // log-variance, (batch, 2 latent); a reconstruction that starts from it needs it after load_tiles().
  struct Convolution {
    Conv3dProblem problem;
    const void* packed;
    ConstArray bias;
  };
  std::vector<Convolution> encoder_convolutions() const;
  Array features() const;
  void encode_features();
  Array posterior() const;

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

 private:
  friend class ModelProbe;  // tests look inside through it
  std::string what_would_fit(size_t available) const;
  void add_parameters();
  void add_layers();
  void wire();
  // What a step depends on; the second needs the first.
  void set_scalars(const LossWeights& weights, uint64_t seed, uint64_t step);
  void set_scalars(double learning_rate);
  void list_parts();
  // Each queues a piece of a pass.
  void send_scalars();
  void run(Phase phase) { run(phase, 0, parts_.size()); }
  void run(Phase phase, size_t first, size_t last);  // of parts [first, last)
  void forward(bool sample);
  void loss(Array gradient);
  void reconstruct();
  void optimize(double limit);

  std::vector<TileLoss> tile_losses(const double* results) const;
  Array result(int64_t first, int64_t count) const;

  Backend& backend_;
  ModelShape shape_;
  ReconstructionLoss loss_;
  int64_t batch_;
  Purpose purpose_;

  std::vector<LayerSpec> specs_;     // of layers_, one by one
  size_t encoder_convolutions_ = 0;  // the first of them

  MemoryPlan plan_;
  std::vector<BufferId> parameter_buffers_;  // what does not grow with the batch
  std::vector<ParameterStorage> parameters_;
  std::vector<State> states_;
  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<LinearLayer*> linears_;
  PosteriorLayer* posterior_ = nullptr;

  // Small parameters (all but the Linear weights) share one buffer each for values, gradients and moments.
  BufferId small_ = no_buffer, small_gradient_ = no_buffer, small_m_ = no_buffer, small_v_ = no_buffer;
  BufferId targets_ = no_buffer, input_ = no_buffer, logits_ = no_buffer, reconstruction_ = no_buffer;
  BufferId scalars_ = no_buffer, squares_ = no_buffer;
  // Per tile the reconstruction loss, then per tile the KL divergence, then the gradient norm; f64.
  BufferId results_ = no_buffer;
  // Where data rests on its way between host and device.
  struct Staging {
    BufferId tiles, scalars, results, posterior, reconstruction;
  } staging_ = {no_buffer, no_buffer, no_buffer, no_buffer, no_buffer};
  StepScalars step_;
  double limit_ = 0;  // of the gradient norm, as in start_step()
  std::unique_ptr<Arena> arena_;
  std::vector<Part> parts_;
  size_t features_part_ = 0, posterior_part_ = 0;  // the first after the encoder's convolutions, the sampling
  std::unique_ptr<Feed> tile_feed_, scalar_feed_;
  std::unique_ptr<Drain> result_drain_, posterior_drain_, reconstruction_drain_;
  std::vector<float> narrow_;  // tiles as floats where the master type is not f32

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
