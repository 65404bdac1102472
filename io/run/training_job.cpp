#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

#include "engine/detect/comparison.h"
#include "engine/detect/detection.h"
#include "engine/detect/job.h"
#include "engine/image/excluded.h"
#include "engine/prepare/preprocess.h"
#include "engine/short_number.h"
#include "engine/train/job.h"
#include "io/config/config.h"
#include "io/files/atomic_file.h"
#include "io/files/message_text.h"
#include "io/files/output_folder.h"
#include "io/formats/image_data.h"
#include "io/formats/input_digest.h"
#include "io/formats/spectrum_image_file.h"
#include "io/model/remarks.h"
#include "io/model/trained_model.h"
#include "io/run/automatic_job.h"
#include "io/run/job_folder.h"
#include "io/run/jobs.h"
#include "io/run/training_run.h"
#include "io/terminal/program.h"
#include "io/terminal/run_log.h"

namespace eelsvae {
namespace {

// Puts into the best checkpoint what only a trained model can tell.
std::optional<Comparison> complete_checkpoint(const std::string& file, const PreparedImage& prepared,
                                              const BackendOffer& offer, spdlog::logger& log) {
  CheckpointInfo info;
  TrainedModel trained;
  {
    const SafetensorsFile checkpoint(file);
    info = read_checkpoint_info(checkpoint);
    trained = load_trained_model(checkpoint, info.config, info.energy.size,
                                 tiles_at_a_time(info.config.tiles, info.config.detection,
                                                 prepared.image.y.size, prepared.image.x.size),
                                 offer);
  }
  complete_description(info, *trained.model, prepared.image, interruption());
  if (!info.normal_scores.empty())
    log.info("{} held-out spectra calibrate conformal thresholds", info.normal_scores.size());
  write_checkpoint(file, *trained.model, info);
  return info.comparison;
}

// The image that a configuration names, as a training sees it.
PreparedImage prepare_for_training(const Config& config, const BackendOffer& offer) {
  std::optional<ImageToRead> drift_image = open_drift_image(config, interruption());
  return prepare(open_image_data(config.data.data_path, config, interruption()), config.preprocess,
                 config.data.energy_range, nullptr, std::move(drift_image),
                 offer.create(offer.variants.front()).get());
}

struct OneStep : TrainingObserver {
  void on_step(const TrainingState&, int64_t, double) override {}
  void on_epoch(const TrainingState&, bool) override {}
  bool stop_requested() override { return true; }
};

// A configuration for a scan, that can be trained with as it is: what a training would refuse, or what makes
// its first loss no number, is refused.
int write_configuration(const TrainingRequest& request) {
  const TrainingRequest defaults;
  const std::pair<bool, const char*> others[] = {{!request.config.empty(), "CONFIG"},
                                                 {!request.data.empty(), "--data"},
                                                 {request.output != defaults.output, "--output"},
                                                 {!request.weights.empty(), "--weights"},
                                                 {request.minutes.has_value(), "--minutes"},
                                                 {request.resume, "--resume"},
                                                 {!request.plan.empty(), "--plan"}};
  for (const auto& [given, name] : others)
    if (given)
      throw UserError(std::string("--init writes a configuration and does nothing else; leave out ") + name);
  auto [choice, energy, pixels] = choose_for_scan(request.init, request.settings);
  if (!choice.no_model.empty())
    throw UserError(request.init + ": " + choice.no_model +
                    "; eelsvae-detect alone, or with --baseline, needs none");
  Config& config = choice.config;
  apply_settings(config, request.init, request.settings);
  std::vector<std::string> lines = std::move(choice.reasons);
  if (!config.data.energy_range && energy.units == "eV" && config.preprocess.align == Align::none &&
      config.preprocess.bin_energy == 1) {
    // The same as none, but to be narrowed by whoever knows which edges matter.
    const auto rounded = [](double ev) { return std::stod(short_number(ev, 9)); };
    config.data.energy_range = {
        {rounded(energy.value(0)), rounded(energy.value(static_cast<double>(energy.size - 1)))}};
    lines.insert(lines.begin(),
                 "data.energy_range: all that the scan has; narrow it to the edges that matter");
  }
  const BackendOffer offer = find_backend(config.device, config.precision, "auto");
  const PreparedImage prepared = prepare_for_training(config, offer);
  TrainingJob job(offer, config, prepared.image);
  job.start();
  OneStep one_step;
  job.run(one_step);
  lines.insert(lines.end(), choice.rules.begin(), choice.rules.end());
  for (const std::string& setting : request.settings) lines.push_back(setting + ": by --set");
  for (const std::string& line : lines) std::fprintf(stderr, "%s\n", one_line(line).c_str());
  std::printf("%s", to_json_text(config).c_str());
  if (std::fflush(stdout) != 0)
    throw UserError(std::string("cannot write the configuration to stdout: ") + std::strerror(errno));
  return 0;
}

}  // namespace

int run_training(const TrainingRequest& request) {
  if (!request.init.empty()) return write_configuration(request);
  if (request.config.empty()) throw UserError("CONFIG is required; --init SCAN writes one that fits a scan");
  return train_into(request, nullptr);
}

int train_into(const TrainingRequest& request, const Chosen* chosen) {
  if (request.minutes) check_minutes(*request.minutes);
  Config config = chosen ? chosen->config : read_config(request.config, request.settings);
  if (!request.data.empty()) config.data.data_path = request.data;
  if (config.data.data_path.empty())
    throw UserError("no data: give --data FILE or data.data_path in " + request.config);

  const RunFolder folder{request.output};
  std::optional<JobFolder> output;
  if (request.plan.empty()) output.emplace(folder.path, JobFolder::Kind::training);
  if (const std::string file = folder.existing(); !file.empty() && !request.resume && request.plan.empty())
    throw UserError("there is a run in " + request.output + " (" + file +
                    "); continue it with --resume or choose another --output");
  if (request.resume && !std::filesystem::exists(folder.path))
    throw UserError("there is no folder " + request.output +
                    " with a run to continue; name the run's by --output, or leave out --resume");
  std::optional<SafetensorsFile> checkpoint;
  CheckpointInfo saved;
  if (request.resume && std::filesystem::exists(folder.last())) {
    checkpoint.emplace(folder.last());
    saved = read_checkpoint_info(*checkpoint);
    if (!saved.training) throw UserError(folder.last() + ": holds no optimizer state; it cannot be resumed");
    check_same_run(saved.config, config, folder.last());
    if (saved.training->epoch > config.training.epochs)
      throw UserError("training.epochs: the run in " + request.output + " has " +
                      std::to_string(saved.training->epoch) + " epochs already, more than the " +
                      std::to_string(config.training.epochs) + " that are asked for");
  } else if (request.resume && std::filesystem::exists(folder.config())) {
    check_same_run(read_config(folder.config()), config, folder.config());
  }

  std::string fallback;
  const BackendOffer offer = find_backend(config.device, config.precision, "auto", &fallback);
  std::optional<InputRecords> inputs;
  if (request.plan.empty()) inputs.emplace(input_files(config.data.data_path, config));
  const PreparedImage prepared = prepare_for_training(config, offer);
  CheckpointInfo info{config, prepared.image.energy, prepared.scaling, {}, {}, prepared.alignment};
  std::optional<TrainingJob> job(std::in_place, offer, config, prepared.image, saved.computed_by);
  info.computed_by = job->choice().variant;
  const Backend& backend = job->backend();
  Model& model = job->model();
  const Trainer& trainer = job->trainer();
  if (!request.plan.empty()) {
    std::printf("%s%s", model.plan().summary(backend.memory()).c_str(),
                request.plan == "full" ? model.plan().table().c_str() : "");
    return 0;
  }
  info.provenance = {{{"eelsvae", EELSVAE_VERSION}, {"device", backend.description()}},
                     inputs->get(interruption()),
                     prepared.notes};
  if (checkpoint) {
    // Checkpoints of older programs have the image alone, or nothing.
    const auto changed = std::ranges::mismatch(info.provenance.inputs, saved.provenance.inputs, {},
                                               &InputFile::sha256, &InputFile::sha256);
    if (changed.in2 != saved.provenance.inputs.end())
      throw UserError((changed.in1 != info.provenance.inputs.end() ? *changed.in1 : *changed.in2).path +
                      ": is not the file, or not as it was, with which the run in " + request.output +
                      " was started; choose another --output");
    if (saved.energy != info.energy || saved.scaling != info.scaling || saved.alignment != info.alignment)
      throw UserError(config.data.data_path + ": is not the image that the run in " + request.output +
                      " was started on");
    job->resume(*saved.training, [&](Model& to) { load_checkpoint(*checkpoint, to, true); });
  } else {
    job->start();
    if (!request.weights.empty()) load_checkpoint(SafetensorsFile(request.weights), model, false);
  }
  const TrainingState& state = job->state();

  if (chosen) check_detection(prepared.image, config.tiles.image_size, config.detection);

  // Nothing was written until here, and from here on only the machine can fail. A checkpoint is written
  // beside the one it replaces.
  const uint64_t required =
      2 * checkpoint_bytes(model.shape(), true) + 2 * checkpoint_bytes(model.shape(), false);
  if (chosen && chosen->folder) chosen->folder->prepare(required);
  output->prepare(required);
  if (chosen && chosen->begin) chosen->begin();
  folder.remove_leftovers();
  std::shared_ptr<spdlog::logger> log = make_run_log(folder.path, request.resume);
  output->warn(*log);
  if (!fallback.empty()) log->info("{}", fallback);
  log->info("{}", backend.description());
  if (!job->kernels_note().empty()) log->info("{}", job->kernels_note());
  for (const std::string& note : backend.notes()) log->warn("{}", note);
  for (const std::string& note : prepared.notes) log->info("{}", note);
  log->info("{}: {} x {} pixels, {} channels from {:.6g} eV; {} tiles to train on, {} for validation",
            config.data.data_path, prepared.image.y.size, prepared.image.x.size, prepared.image.energy.size,
            prepared.image.energy.offset, trainer.training_tiles(), trainer.validation_tiles());
  if (const int64_t touching = trainer.split().touching; touching > 0)
    log->info("{} tiles that overlap those for validation are left out", touching);
  if (const int64_t excluded = excluded_pixels(prepared.image.excluded); excluded > 0)
    log->info("{} pixels are excluded; {} tiles that hold no others are left out", excluded,
              trainer.excluded_tiles());
  log->info("{} parameters, {} of memory on {}", model.shape().parameter_count(),
            human_bytes(model.plan().bytes()), backend.device());
  if (checkpoint)
    log->info("Resuming after {} epochs and {} steps", state.epoch, state.step);
  else if (request.resume)
    log->info("Nothing to resume in {}; starting from the beginning", request.output);
  write_file(folder.config(), to_json_text(config));

  std::optional<Comparison> comparison;
  if (trainer.held_out())
    comparison = compare_baselines(*trainer.held_out(), prepared.image,
                                   held_out_pixels(trainer.split(), prepared.image, 1));
  else
    log->info(
        "No spectra are held out, so nothing will tell how well normal ones are predicted "
        "(training.validation_fraction)");
  std::optional<TrainingRun> run(std::in_place, folder, model, info, state, trainer, prepared.image,
                                 comparison, request.minutes, *log);
  checkpoint.reset();  // the run replaces the file
  const bool complete = job->run(*run) || run->time_is_up();
  run->finish(state, complete);
  if (!complete) {
    log->info("Interrupted after {} steps; continue with {}", state.step, request.go_on);
    return interrupted_status;
  }
  if (state.history.empty()) {
    log->warn("No epoch was complete in {:.3g} minutes", *request.minutes);
    return 0;
  }
  if (run->time_is_up())
    log->info("Ended after {} epoch{}, at the end of {:.3g} minutes; {} trains on", state.epoch,
              state.epoch == 1 ? "" : "s", *request.minutes, request.go_on);
  const TrainingState ended = state;
  if (trainer.held_out()) {
    // The network is loaded a second time, into the memory of the training.
    run.reset();
    job.reset();
    try {
      comparison = complete_checkpoint(folder.best(), prepared, offer, *log);
    } catch (const Interrupted&) {
      log->info("Interrupted after the training; {} measures what the model finds", request.go_on);
      return interrupted_status;
    } catch (const UserError& error) {
      log->warn("What the model finds was not measured: {}", error.what());
    }
  }
  for (const Remark& remark : remarks_on_training(config, ended.history, comparison))
    log->log(remark.warning ? spdlog::level::warn : spdlog::level::info, "{}", remark.text);
  log->info("Model: {}, report: {}", folder.best(), folder.report());
  return 0;
}

}  // namespace eelsvae
