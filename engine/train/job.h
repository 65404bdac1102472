#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/image/spectrum_image.h"
#include "engine/network/kernel_choice.h"
#include "engine/stop_token.h"
#include "engine/train/trainer.h"
#include "kernels/backend.h"

// A training from a prepared image to a trained model, whoever asks for it: a program, a study, another
// program that links this library.
namespace eelsvae {

// The simplest observer: keeps the weights of the best epoch in memory and says nothing.
class BestWeights : public TrainingObserver {
 public:
  // The model must outlive the training, but not this.
  explicit BestWeights(const Model& model, const StopToken& stop = {}) : model_(model), stop_(stop) {}
  void on_step(const TrainingState&, int64_t, double) override {}
  void on_epoch(const TrainingState& state, bool improved) override;
  bool stop_requested() override { return stop_.requested(); }

  // Into a model of the same shape. There must have been an epoch.
  void load_into(Model& other) const;

 private:
  const Model& model_;
  StopToken stop_;
  std::vector<float> weights_;  // one after the other
};

class TrainingJob {
 public:
  // Chooses what is fastest of the offer (kernel_choice.h), plans the memory, splits the tiles. before: what
  // computed a run that is to go on; where the offer has it, it is taken again. Configuration and image must
  // outlive the job. UserError as check_non_negative(), model_shape() and Trainer have it.
  TrainingJob(BackendOffer offer, const Config& config, const SpectrumImageView& prepared,
              const std::optional<BackendVariant>& before = {});

  const KernelChoice& choice() const { return choice_; }
  // Why it is computed as it is, in one line for a log; may be empty.
  const std::string& kernels_note() const { return kernels_note_; }
  const Backend& backend() const { return *backend_; }
  Model& model() { return *model_; }
  const Trainer& trainer() const { return *trainer_; }
  const TrainingState& state() const { return state_; }

  // Takes the memory, with the weights of the seed or, where a run is to go on, with what `load` writes to
  // the model, weights and moments. UserError as Model::allocate() and `load` have it.
  void start();
  void resume(const TrainingState& state, const std::function<void(Model&)>& load);
  // As Trainer::run().
  bool run(TrainingObserver& observer) { return trainer_->run(state_, observer); }
  // The network with the best weights, on the job's backend. The training's memory is given back first: of
  // the job nothing is left.
  TrainedModel finish(const BestWeights& weights);

 private:
  const Config& config_;
  KernelChoice choice_;
  std::string kernels_note_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  std::optional<Trainer> trainer_;
  TrainingState state_;
};

}  // namespace eelsvae
