#include "apps/command_line.h"
#include "engine/excluded.h"
#include "engine/preprocess.h"
#include "io/config.h"
#include "io/detect_folder.h"
#include "io/image_data.h"
#include "io/npy.h"
#include "io/output_folder.h"
#include "io/progress.h"
#include "io/run_log.h"
#include "io/training_run.h"

using namespace eelsvae;

namespace {

struct Options {
  std::string model, data, output = "found", truth;
  std::vector<std::string> settings;
  bool save_reconstruction = false;
};

// Keys that speak of one image and not of what the model learned from it.
constexpr std::array<const char*, 4> image_keys = {"preprocess.crop_y", "preprocess.crop_x",
                                                   "preprocess.align_path", "preprocess.align_dataset"};

// What belongs to the trained model stays as it was trained. What was excluded from training belongs to its
// image alone and is forgotten; true if there was anything.
bool apply(const std::vector<std::string>& settings, Config& config) {
  const bool forgotten = config.data.exclude_path || !config.data.exclude.empty();
  config.data.exclude_path.reset();
  config.data.exclude.clear();
  for (const std::string& setting : settings) {
    std::string key = setting.substr(0, setting.find('='));
    if (!key.starts_with("detection.") && !key.starts_with("data.") && key != "device" &&
        key != "precision" && key != "training.batch_size" &&
        std::find(image_keys.begin(), image_keys.end(), key) == image_keys.end())
      throw UserError(
          "--set " + key +
          ": belongs to the trained model; a detection can set detection.*, data.*, "
          "preprocess.crop_y, preprocess.crop_x, preprocess.align_path, preprocess.align_dataset, "
          "training.batch_size, device and precision");
    set_value(config, setting);
  }
  check_config(config, "--set");
  return forgotten;
}

// Another image than the one the model was trained on is used whole and has a low-loss image of its own.
void forget_training_image(PreprocessConfig& preprocess) {
  preprocess.crop_y.reset();
  preprocess.crop_x.reset();
  preprocess.align_path.reset();
  preprocess.align_dataset = -1;
}

int run_detection(const Options& options) {
  const SafetensorsFile file(model_file(options.model));
  CheckpointInfo info = read_checkpoint_info(file);
  const bool drift_elsewhere = info.config.preprocess.align_path.has_value();
  if (!options.data.empty() && options.data != info.config.data.data_path)
    forget_training_image(info.config.preprocess);
  const bool forgotten = apply(options.settings, info.config);
  const Config& config = info.config;
  const std::string data = options.data.empty() ? config.data.data_path : options.data;
  if (drift_elsewhere != config.preprocess.align_path.has_value())
    throw UserError(drift_elsewhere ? file.path() +
                                          ": was trained with preprocess.align_path; give the low-loss image "
                                          "of " +
                                          data + " with --set preprocess.align_path=FILE"
                                    : "--set preprocess.align_path: " + file.path() +
                                          " was trained without it; leave it out");

  SpectrumImage image = read_image_data(data, config.data);
  const int64_t height = image.y.size, width = image.x.size;
  std::optional<SpectrumImage> drift_image = read_drift_image(config);
  const FittedPreprocess fitted{info.energy, info.scaling, info.alignment};
  std::string fallback;
  std::unique_ptr<Backend> backend = make_backend(config.device, config.precision, &fallback);
  const PreparedImage prepared = prepare(std::move(image), config.preprocess, std::nullopt, &fitted,
                                         std::move(drift_image), backend.get());
  check_non_negative(prepared.image, config.loss.reconstruction);
  check_detection(prepared.image, config.tiles, config.detection);
  std::vector<uint8_t> truth;
  if (!options.truth.empty())
    truth = reduce_mask(read_npy_mask(options.truth, height, width), height, width, config.preprocess);

  Model model(*backend, model_shape(config.tiles, config.model, info.energy.size), config.loss.reconstruction,
              config.training.batch_size, Purpose::inference);
  model.allocate();
  load_checkpoint(file, model, false);

  // From here on only the machine can fail.
  prepare_output_folder(options.output, detect_folder_bytes(prepared.image, options.save_reconstruction));
  auto log = make_console_log();
  if (!fallback.empty()) log->info("{}", fallback);
  log->info("{}", backend->description());
  const int64_t excluded = excluded_pixels(prepared.image.excluded);
  if (forgotten && excluded == 0)
    log->info(
        "The training excluded pixels, this detection excludes none; --set data.exclude_path or "
        "data.exclude does");
  for (const std::string& note : prepared.notes) log->info("{}", note);
  std::optional<Progress> progress;
  const Detection found = detect(model, prepared.image, config.detection, [&](int64_t done, int64_t total) {
    if (!progress) progress.emplace("Reconstructing", total, "tiles");
    progress->update(done);
    return !interrupted();
  });
  if (progress) progress->finish();
  if (found.scores.empty()) {
    log->info("Interrupted; nothing was written");
    return interrupted_status;
  }

  DetectionOutput output{prepared.image, found, info, data, file.path(), truth, std::nullopt, {}, false};
  if (!truth.empty())
    output.metrics = detection_metrics(found.scores, truth, found.threshold, prepared.image.excluded);
  output.versions = {{"eelsvae", EELSVAE_VERSION}, {"device", backend->description()}};
  output.save_reconstruction = options.save_reconstruction;
  write_detect_folder(options.output, output);

  log->info("{} of {} spectra do not fit (score above {:.4g}){}", found.anomalous_pixels(),
            prepared.image.pixels() - excluded, found.threshold,
            excluded > 0 ? "; " + std::to_string(excluded) + " are excluded" : "");
  if (output.metrics)
    log->info("Against the truth: F1 {:.3f}, precision {:.3f}, recall {:.3f}", output.metrics->f1,
              output.metrics->precision, output.metrics->recall);
  log->info("Map: {0}/scores.png, report: {0}/report.html", options.output);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Finds the spectra of an EELS spectrum image that do not fit a trained model.",
               "eelsvae-detect");
  app.footer(
      "Example:\n"
      "  eelsvae-detect --model run --data CuZn_EELS_mapping.hspy --output found\n"
      "writes scores.hspy, scores.npy, mask.npy, scores.png, summary.json and report.html to the folder "
      "found.");
  app.add_option("--model", options.model, "run folder of eelsvae-train, or a checkpoint")->required();
  app.add_option("--data", options.data, "spectrum image (otherwise the one the model was trained on)");
  app.add_option("--output", options.output, "folder for the results")->capture_default_str();
  app.add_option("--truth", options.truth, "mask (y, x) of known anomalies, .npy; adds F1 and the like");
  app.add_flag("--save-reconstruction", options.save_reconstruction,
               "also write reconstruction.npy (y, x, E)");
  app.add_option("--set", options.settings, "override a key: --set detection.threshold=0.3 (repeatable)")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  return run_command(app, argc, argv, [&] { return run_detection(options); });
}
