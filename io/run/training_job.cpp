#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "engine/image/excluded.h"
#include "engine/network/kernel_choice.h"
#include "engine/prepare/preprocess.h"
#include "io/config/config.h"
#include "io/files/atomic_file.h"
#include "io/files/output_folder.h"
#include "io/formats/image_data.h"
#include "io/run/jobs.h"
#include "io/run/training_run.h"
#include "io/terminal/program.h"
#include "io/terminal/run_log.h"

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

int run_training(const TrainingRequest& request) {
  Config config = read_config(request.config, request.settings);
  if (!request.data.empty()) config.data.data_path = request.data;
  if (config.data.data_path.empty())
    throw UserError("no data: give --data FILE or data.data_path in " + request.config);

  const RunFolder folder{request.output};
  if (const std::string file = folder.existing(); !file.empty() && !request.resume && !request.plan)
    throw UserError("there is a run in " + request.output + " (" + file +
                    "); continue it with --resume or choose another --output");
  std::optional<SafetensorsFile> checkpoint;
  CheckpointInfo saved;
  if (request.resume && std::filesystem::exists(folder.last())) {
    checkpoint.emplace(folder.last());
    saved = read_checkpoint_info(*checkpoint);
    if (!saved.training) throw UserError(folder.last() + ": holds no optimizer state; it cannot be resumed");
    check_same_run(saved.config, config, folder.last());
  } else if (request.resume && std::filesystem::exists(folder.config())) {
    check_same_run(read_config(folder.config()), config, folder.config());
  }

  std::string fallback;
  BackendOffer offer = find_backend(config.device, config.precision, "auto", &fallback);
  std::string kernels_note = narrow(offer, saved.computed_by);
  std::unique_ptr<Backend> backend = offer.create(offer.variants.front());
  std::optional<SpectrumImage> drift_image = read_drift_image(config, interruption());
  PreparedImage prepared =
      prepare(read_image_data(config.data.data_path, config.data, interruption()), config.preprocess,
              config.data.energy_range, nullptr, std::move(drift_image), backend.get());
  check_non_negative(prepared.image, config.loss.reconstruction);
  CheckpointInfo info{config, prepared.image.energy, prepared.scaling, {}, {}, prepared.alignment};
  if (checkpoint &&
      (saved.energy != info.energy || saved.scaling != info.scaling || saved.alignment != info.alignment))
    throw UserError(config.data.data_path + ": is not the image that the run in " + request.output +
                    " was started on");
  const ModelShape shape = model_shape(config.tiles, config.model, prepared.image.energy.size);
  const KernelChoice choice =
      choose_kernels(offer, shape, config.loss.reconstruction, config.training.batch_size, Purpose::training);
  if (kernels_note.empty()) kernels_note = describe(choice);
  backend = offer.create(choice.variant);
  info.computed_by = choice.variant;
  Model model(*backend, shape, config.loss.reconstruction, config.training.batch_size, Purpose::training);
  if (request.plan) {
    std::printf("%s", model.plan().table(backend->memory()).c_str());
    return 0;
  }
  Trainer trainer(model, config, prepared.image);
  model.allocate();
  TrainingState state = trainer.initial_state();
  if (checkpoint) {
    load_checkpoint(*checkpoint, model, true);
    state = *saved.training;
  } else {
    model.initialize(config.training.seed);
    if (!request.weights.empty()) load_checkpoint(SafetensorsFile(request.weights), model, false);
  }

  // Nothing was written until here, and from here on only the machine can fail. A checkpoint is written
  // beside the one it replaces.
  prepare_output_folder(folder.path, 2 * checkpoint_bytes(shape, true) + 2 * checkpoint_bytes(shape, false));
  folder.remove_leftovers();
  std::shared_ptr<spdlog::logger> log = make_run_log(folder.path, request.resume);
  if (!fallback.empty()) log->info("{}", fallback);
  log->info("{}", backend->description());
  if (!kernels_note.empty()) log->info("{}", kernels_note);
  for (const std::string& note : backend->notes()) log->warn("{}", note);
  for (const std::string& note : prepared.notes) log->info("{}", note);
  log->info("{}: {} x {} pixels, {} channels from {:.6g} eV; {} tiles to train on, {} for validation",
            config.data.data_path, prepared.image.y.size, prepared.image.x.size, prepared.image.energy.size,
            prepared.image.energy.offset, trainer.training_tiles(), trainer.validation_tiles());
  if (const int64_t excluded = excluded_pixels(prepared.image.excluded); excluded > 0)
    log->info("{} pixels are excluded; {} tiles that hold no others are left out", excluded,
              trainer.excluded_tiles());
  log->info("{} parameters, {} of memory on {}", shape.parameter_count(), human_bytes(model.plan().bytes()),
            backend->device());
  if (checkpoint)
    log->info("Resuming after {} epochs and {} steps", state.epoch, state.step);
  else if (request.resume)
    log->info("Nothing to resume in {}; starting from the beginning", request.output);
  write_file(folder.config(), to_json_text(config));

  TrainingRun run(folder, model, info, state, trainer, prepared.image,
                  {{"eelsvae", EELSVAE_VERSION}, {"device", backend->description()}}, *log);
  checkpoint.reset();  // the run replaces the file
  const bool complete = trainer.run(state, run);
  run.finish(state, complete);
  if (!complete) {
    log->info("Interrupted after {} steps; continue with --resume", state.step);
    return interrupted_status;
  }
  const EpochRecord& last = state.history.back();
  log->info("Best loss {:.6g}; {} of {} latent units active", state.best_loss, last.active_latent_units,
            shape.latent);
  if (last.active_latent_units == 0)
    log->warn(
        "the posterior has collapsed: every tile gives the same latent vector and the model returns the "
        "mean spectrum; raise loss.dose or loss.kl_warmup_epochs, or lower loss.kl_weight");
  log->info("Model: {}, report: {}", folder.best(), folder.report());
  return 0;
}

}  // namespace eelsvae
