#include "engine/train/job.h"

#include <algorithm>
#include <utility>

#include "engine/prepare/preprocess.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

// A run that goes on is computed as it was. Returns what there is to say of it.
std::string narrow(BackendOffer& offer, const std::optional<BackendVariant>& before) {
  if (!before) return "";
  const std::string was = before->precision + (before->kernels.empty() ? "" : " " + before->kernels);
  const auto found = std::find(offer.variants.begin(), offer.variants.end(), *before);
  if (found == offer.variants.end())
    return "The run was computed in " + was +
           " before, which is not asked for or not to be had here: from here on it differs by rounding";
  offer.variants = {*found};
  return "Computed in " + was + ", as before";
}

}  // namespace

void BestWeights::on_epoch(const TrainingState&, bool improved) {
  if (!improved) return;
  weights_.clear();
  weights_.reserve(static_cast<size_t>(model_.shape().parameter_count()));
  for (const Model::State& tensor : model_.states())
    if (tensor.weight)
      model_.read_state(tensor, [&](const float* block, int64_t count) {
        weights_.insert(weights_.end(), block, block + count);
      });
}

void BestWeights::load_into(Model& other) const {
  expect(std::ssize(weights_) == other.shape().parameter_count(), "weights of no epoch, or of another model");
  auto next = weights_.begin();
  for (const Model::State& tensor : other.states())
    if (tensor.weight)
      other.write_state(tensor, [&](float* block, int64_t count) {
        std::copy_n(next, count, block);
        next += count;
      });
  other.refresh();
}

TrainingJob::TrainingJob(BackendOffer offer, const Config& config, const SpectrumImageView& prepared,
                         const std::optional<BackendVariant>& before)
    : config_(config), kernels_note_(narrow(offer, before)) {
  const ReconstructionLoss loss = config.loss.reconstruction;
  const int64_t batch = config.training.batch_size;
  check_non_negative(prepared, loss);
  const ModelShape shape = model_shape(config.tiles, config.model, prepared.energy.size);
  choice_ = choose_kernels(offer, shape, loss, batch, Purpose::training);
  if (kernels_note_.empty()) kernels_note_ = describe(choice_);
  backend_ = offer.create(choice_.variant);
  model_ = std::make_unique<Model>(*backend_, shape, loss, batch, Purpose::training);
  trainer_.emplace(*model_, config, prepared);
}

void TrainingJob::start() {
  model_->allocate();
  model_->initialize(config_.training.seed);
  state_ = trainer_->initial_state();
}

void TrainingJob::resume(const TrainingState& state, const std::function<void(Model&)>& load) {
  model_->allocate();
  load(*model_);
  state_ = state;
}

TrainedModel TrainingJob::finish(const BestWeights& weights) {
  const ModelShape shape = model_->shape();
  trainer_.reset();
  model_.reset();
  TrainedModel trained{choice_, std::move(backend_), {}};
  trained.model = std::make_unique<Model>(*trained.backend, shape, config_.loss.reconstruction,
                                          config_.detection.batch_size, Purpose::inference);
  trained.model->allocate();
  weights.load_into(*trained.model);
  return trained;
}

}  // namespace eelsvae
