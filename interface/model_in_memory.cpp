#include "interface/model_in_memory.h"

#include <filesystem>
#include <utility>

#include "engine/detect/comparison.h"
#include "engine/prepare/preprocess.h"
#include "engine/short_number.h"
#include "engine/train/job.h"
#include "engine/train/time_limit.h"
#include "interface/caller_image.h"
#include "interface/guard.h"
#include "io/config/config.h"
#include "io/files/mapped_file.h"
#include "io/model/remarks.h"
#include "io/model/trained_model.h"
#include "kernels/device_scope.h"

namespace eelsvae {
namespace {

// Keeps the weights of the best epoch, and what was known when it ended.
class TrainingForCaller final : public BestWeights {
 public:
  TrainingForCaller(const Model& model, const Config& config, int64_t steps, Caller& caller,
                    std::optional<double> minutes)
      : BestWeights(model, caller.token()),
        config_(config),
        steps_(steps),
        caller_(caller),
        limit_(minutes) {}

  void on_step(const TrainingState& state, int64_t, double) override {
    caller_.progress("training", static_cast<int64_t>(state.step), steps_);
  }

  void on_epoch(const TrainingState& state, bool improved) override {
    BestWeights::on_epoch(state, improved);
    if (improved) history_ = state.history;
    const EpochRecord& record = state.history.back();
    limit_.on_epoch(record.seconds);
    const auto spectra = static_cast<double>(config_.tiles.image_size * config_.tiles.image_size);
    std::string text =
        "epoch " + std::to_string(record.epoch) + ": loss " + short_number(record.training.loss / spectra);
    if (record.deviance) text += ", predictive deviance " + short_number(*record.deviance, 5);
    caller_.info(text + (improved ? ", best so far" : ""));
  }

  bool stop_requested() override { return BestWeights::stop_requested() || limit_.ask(); }

  bool time_is_up() const { return limit_.is_up(); }
  // Up to the best epoch; empty if there was none.
  const std::vector<EpochRecord>& history() const { return history_; }

 private:
  const Config& config_;
  int64_t steps_;
  Caller& caller_;
  TimeLimit limit_;
  std::vector<EpochRecord> history_;
};

}  // namespace

ModelInMemory::ModelInMemory(std::vector<std::byte> bytes, const std::string& name)
    : content(std::move(bytes)),
      file(content, name),
      info(read_checkpoint_info(file)),
      config_text(to_json_text(info.config)) {}

std::shared_ptr<const ModelInMemory> open_model(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const std::string name =
      fs::is_directory(path, ignored) ? (fs::path(path) / "model.safetensors").string() : path;
  const MappedFile file(name);
  return std::make_shared<ModelInMemory>(std::vector(file.data(), file.data() + file.size()), name);
}

std::shared_ptr<const ModelInMemory> train_model(const eelsvae_image* image, const Config& config,
                                                 Caller& caller, bool& stopped,
                                                 std::optional<double> minutes) {
  const DeviceScope device;
  std::optional<ThreadCount> threads;
  caller.take_threads(threads);
  check_no_files(config);
  ImageToRead given = image_of_caller(image, config.data);
  std::string fallback;
  const BackendOffer offer = find_backend(config.device, config.precision, "auto", &fallback);
  caller.begin("preparing");
  const PreparedImage prepared = prepare(std::move(given), config.preprocess, config.data.energy_range,
                                         nullptr, std::nullopt, offer.create(offer.variants.front()).get());
  CheckpointInfo info{config, prepared.image.energy, prepared.scaling, {}, {}, prepared.alignment};
  std::optional<TrainingJob> job(std::in_place, offer, config, prepared.image);
  info.computed_by = job->choice().variant;
  info.provenance = {
      {{"eelsvae", EELSVAE_VERSION}, {"device", job->backend().description()}}, {}, prepared.notes};
  job->start();
  caller.info(fallback);
  caller.info(job->backend().description());
  caller.info(job->kernels_note());
  for (const std::string& note : job->backend().notes()) caller.warn(note);
  for (const std::string& note : prepared.notes) caller.info(note);

  const Trainer& trainer = job->trainer();
  if (trainer.held_out())
    info.comparison = compare_baselines(*trainer.held_out(), prepared.image,
                                        held_out_pixels(trainer.split(), prepared.image, 1));
  std::optional<TrainingForCaller> best(std::in_place, job->model(), config,
                                        config.training.epochs * trainer.batches_per_epoch(), caller,
                                        minutes);
  const bool complete = job->run(*best) || best->time_is_up();
  stopped = !complete;
  info.history = best->history();
  if (info.history.empty()) return nullptr;
  if (info.comparison) info.comparison->model = info.history.back().deviance;
  const bool measured = trainer.held_out() && !stopped;
  const std::vector<EpochRecord> all_epochs = job->state().history;
  std::vector<std::byte> content = checkpoint_content(*job->finish(*best).model, info);
  best.reset();
  job.reset();

  if (measured) {  // by the network as a detection will have it
    try {
      caller.begin("comparing");
      const SafetensorsFile file(content, "the trained model");
      const TrainedModel trained = load_trained_model(
          file, config, info.energy.size,
          tiles_at_a_time(config.tiles, config.detection, prepared.image.y.size, prepared.image.x.size),
          offer);
      complete_description(info, *trained.model, prepared.image, caller.token());
      content = checkpoint_content(*trained.model, info);
    } catch (const Interrupted&) {
      stopped = true;
    } catch (const UserError& error) {
      caller.warn(std::string("What the model finds was not measured: ") + error.what());
    }
  }
  if (!stopped)
    for (const Remark& remark : remarks_on_training(config, all_epochs, info.comparison))
      remark.warning ? caller.warn(remark.text) : caller.info(remark.text);
  return std::make_shared<ModelInMemory>(std::move(content), "the trained model");
}

}  // namespace eelsvae
