#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "apps/command_line.h"
#include "engine/baselines.h"
#include "engine/excluded.h"
#include "engine/kernel_choice.h"
#include "engine/preprocess.h"
#include "engine/scorer.h"
#include "engine/trainer.h"
#include "io/config.h"
#include "io/detect_folder.h"
#include "io/image_data.h"
#include "io/npy.h"
#include "io/output_folder.h"
#include "io/program.h"
#include "io/progress.h"
#include "io/run_log.h"
#include "io/stage_times.h"
#include "io/training_run.h"

using namespace eelsvae;

namespace {

struct Options {
  std::string model, baseline, fit, config, data, output = "found", truth;
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
        key != "precision" && std::find(image_keys.begin(), image_keys.end(), key) == image_keys.end())
      throw UserError(
          "--set " + key +
          ": belongs to the trained model; a detection can set detection.*, data.*, "
          "preprocess.crop_y, preprocess.crop_x, preprocess.align_path, preprocess.align_dataset, "
          "device and precision");
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

// What the threshold promises, for the closing line.
std::string rate_text(const DetectionConfig& config) {
  if (config.threshold || config.threshold_method == ThresholdMethod::otsu) return "";
  return fmt::format(", at a false-discovery rate of {:.3g} %", 100 * config.fdr);
}

// What a detection works with, wherever its expectations come from.
struct Source {
  Config config;
  Config training = {};  // of a model, with this detection's settings: how its own image is scored
  std::optional<FittedPreprocess> fitted;  // of a trained model
  std::string name;
  std::vector<EpochRecord> history = {};
  bool forgotten = false;  // the training excluded pixels
};

Source model_source(const Options& options, const SafetensorsFile& file) {
  CheckpointInfo info = read_checkpoint_info(file);
  const bool drift_elsewhere = info.config.preprocess.align_path.has_value();
  Config training = info.config;
  if (!options.data.empty() && options.data != info.config.data.data_path)
    forget_training_image(info.config.preprocess);
  const bool forgotten = apply(options.settings, info.config);
  const std::string& data = options.data.empty() ? info.config.data.data_path : options.data;
  if (drift_elsewhere != info.config.preprocess.align_path.has_value())
    throw UserError(drift_elsewhere ? file.path() +
                                          ": was trained with preprocess.align_path; give the low-loss image "
                                          "of " +
                                          data + " with --set preprocess.align_path=FILE"
                                    : "--set preprocess.align_path: " + file.path() +
                                          " was trained without it; leave it out");
  training.detection = info.config.detection;
  return {info.config, std::move(training),     FittedPreprocess{info.energy, info.scaling, info.alignment},
          file.path(), std::move(info.history), forgotten};
}

Source baseline_source(const Options& options) {
  Config config;
  if (!options.config.empty()) config = read_config(options.config, {});
  for (const std::string& setting : options.settings) set_value(config, setting);
  check_config(config, "--set");
  if (options.data.empty() && config.data.data_path.empty()) throw UserError("no data: give --data FILE");
  return {std::move(config), {}, std::nullopt, "", {}, false};
}

// The image that a baseline is fitted to, if not the one under test; the same preprocessing as that.
Baseline fit_baseline(const Options& options, const Source& source, const PreparedImage& prepared,
                      Backend& backend) {
  const BaselineSpec spec = parse_baseline(options.baseline);
  if (options.fit.empty()) return Baseline(prepared.image, {}, spec);
  Config config = source.config;
  forget_training_image(config.preprocess);
  config.data.exclude_path.reset();
  config.data.exclude.clear();
  const FittedPreprocess fitted{prepared.image.energy, prepared.scaling, prepared.alignment};
  const PreparedImage normal = prepare(read_image_data(options.fit, config.data), config.preprocess,
                                       std::nullopt, &fitted, std::nullopt, &backend);
  return Baseline(normal.image, {}, spec);
}

// The spectra that the model's training held out of its own image, for a conformal threshold.
struct HeldOut {
  std::optional<PreparedImage> image;  // where it is not the one under detection
  std::vector<uint8_t> pixels;         // (y, x)
};

// Where the threshold asks for them. `data` and `prepared`: the image under detection.
std::optional<HeldOut> find_held_out(const Source& source, const std::string& data,
                                     const PreparedImage& prepared, Backend& backend) {
  const DetectionConfig& detection = source.config.detection;
  if (!source.fitted || detection.threshold || detection.threshold_method != ThresholdMethod::conformal)
    return std::nullopt;
  const Config& training = source.training;
  HeldOut held_out;
  DataConfig detected = source.config.data;
  detected.data_path = data;
  if (!(detected == training.data && source.config.preprocess == training.preprocess))
    held_out.image = prepare(read_image_data(training.data.data_path, training.data), training.preprocess,
                             std::nullopt, &*source.fitted, read_drift_image(training), &backend);
  const SpectrumImage& image = held_out.image ? held_out.image->image : prepared.image;
  held_out.pixels = held_out_pixels(split_tiles(image, training.tiles, training.training), image);
  if (std::find(held_out.pixels.begin(), held_out.pixels.end(), 1) == held_out.pixels.end())
    throw UserError("detection.threshold_method=conformal needs spectra that were held out of training; " +
                    source.name + " held none out (training.validation_fraction)");
  return held_out;
}

// Their scores, ascending.
std::vector<float> scores_of(const HeldOut& held_out, const SpectrumImage& image,
                             const Expectation& expectation, const Config& training) {
  const std::vector<float> map =
      Scorer(image, expectation, training.preprocess, training.detection).scores(training.detection.score);
  std::vector<float> scores;
  for (size_t pixel = 0; pixel < held_out.pixels.size(); ++pixel)
    if (held_out.pixels[pixel]) scores.push_back(map[pixel]);
  std::sort(scores.begin(), scores.end());
  return scores;
}

// No more than the image has.
int64_t tiles_at_a_time(const Config& config, const SpectrumImage& image) {
  const int64_t tile = config.tiles.image_size, stride = config.detection.stride;
  const TileGrid grid = make_tile_grid(image.y.size, image.x.size, tile, stride == 0 ? tile / 2 : stride);
  return std::min(config.detection.batch_size, grid.size());
}

// What the model expects of an image; without spectra if the user interrupts it.
Expectation reconstruct(Model& model, const SpectrumImage& image, const DetectionConfig& detection,
                        const std::string& title) {
  std::optional<Progress> progress;
  Expectation expectation = expect_from(model, image, detection, [&](int64_t done, int64_t total) {
    if (!progress) progress.emplace(title, total, "tiles");
    progress->update(done);
    return !interrupted();
  });
  if (progress) progress->finish();
  return expectation;
}

int run_detection(const Options& options) {
  if (options.model.empty() == options.baseline.empty())
    throw UserError("give either --model RUN or --baseline NAME");
  if (options.baseline.empty() && !(options.fit.empty() && options.config.empty()))
    throw UserError("--fit and --config belong to --baseline; a model brings its own configuration");
  std::optional<SafetensorsFile> file;
  if (!options.model.empty()) file.emplace(model_file(options.model));
  if (!options.baseline.empty()) parse_baseline(options.baseline);
  Source source = file ? model_source(options, *file) : baseline_source(options);
  const Config& config = source.config;
  const std::string data = options.data.empty() ? config.data.data_path : options.data;

  StageTimes times;
  SpectrumImage image = read_image_data(data, config.data);
  const int64_t height = image.y.size, width = image.x.size;
  std::optional<SpectrumImage> drift_image = read_drift_image(config);
  times.end("reading");
  std::string fallback;
  const BackendOffer offer = find_backend(config.device, config.precision, "auto", &fallback);
  std::unique_ptr<Backend> backend = offer.create(offer.variants.front());
  const PreparedImage prepared =
      prepare(std::move(image), config.preprocess, file ? std::nullopt : config.data.energy_range,
              file ? &*source.fitted : nullptr, std::move(drift_image), backend.get());
  if (file) check_non_negative(prepared.image, config.loss.reconstruction);
  check_detection(prepared.image, file ? config.tiles.image_size : 0, config.detection);
  std::vector<uint8_t> truth;
  if (!options.truth.empty())
    truth = reduce_mask(read_npy_mask(options.truth, height, width), height, width, config.preprocess);

  times.end("preparing");
  std::optional<Model> model;
  std::optional<Baseline> baseline;
  std::string kernels_note;
  if (file) {
    const ModelShape shape = model_shape(config.tiles, config.model, prepared.image.energy.size);
    const int64_t batch = tiles_at_a_time(config, prepared.image);
    const KernelChoice choice =
        choose_kernels(offer, shape, config.loss.reconstruction, batch, Purpose::inference);
    kernels_note = describe(choice);
    backend = offer.create(choice.variant);
    model.emplace(*backend, shape, config.loss.reconstruction, batch, Purpose::inference);
    model->allocate();
    load_checkpoint(*file, *model, false);
  } else {
    baseline.emplace(fit_baseline(options, source, prepared, *backend));
    source.name = baseline->describe();
  }

  times.end(file ? "model" : "fitting");
  const std::optional<HeldOut> held_out = find_held_out(source, data, prepared, *backend);

  // From here on only the machine can fail.
  prepare_output_folder(options.output, detect_folder_bytes(prepared.image, options.save_reconstruction));
  auto log = make_console_log();
  if (!fallback.empty()) log->info("{}", fallback);
  log->info("{}", backend->description());
  if (!kernels_note.empty()) log->info("{}", kernels_note);
  for (const std::string& note : backend->notes()) log->warn("{}", note);
  if (baseline) log->info("{}", source.name);
  const int64_t excluded = excluded_pixels(prepared.image.excluded);
  if (source.forgotten && excluded == 0)
    log->info(
        "The training excluded pixels, this detection excludes none; --set data.exclude_path or "
        "data.exclude does");
  for (const std::string& note : prepared.notes) log->info("{}", note);
  const Expectation expectation =
      model ? reconstruct(*model, prepared.image, config.detection, "Reconstructing")
            : expect_from(*baseline, prepared.image);
  Expectation of_held_out;  // unless it is the same
  if (held_out && held_out->image && !expectation.spectra.empty())
    of_held_out =
        reconstruct(*model, held_out->image->image, config.detection, "Reconstructing what was trained on");
  if (expectation.spectra.empty() || interrupted()) {
    log->info("Interrupted; nothing was written");
    return interrupted_status;
  }
  times.end("reconstructing");
  std::vector<float> normal;  // scores of normal spectra
  if (held_out) {
    const PreparedImage& own = held_out->image ? *held_out->image : prepared;
    normal = scores_of(*held_out, own.image, held_out->image ? of_held_out : expectation, source.training);
    log->info("{} spectra of {} were held out of training", normal.size(), source.training.data.data_path);
  }
  const Detection found = detect(prepared.image, expectation, config.preprocess, config.detection, normal);

  times.end("scoring");

  DetectionOutput output{prepared.image, expectation, found, config, data, source.name, source.history};
  output.truth = truth;
  if (!truth.empty())
    output.metrics = detection_metrics(found.scores, truth, found.threshold, prepared.image.excluded);
  output.versions = {{"eelsvae", EELSVAE_VERSION}, {"device", backend->description()}};
  output.save_reconstruction = options.save_reconstruction;
  write_detect_folder(options.output, output);
  times.end("report");

  log->info("{} of {} spectra do not fit (score above {:.4g}{}){}", found.anomalous_pixels(),
            prepared.image.pixels() - excluded, found.threshold, rate_text(config.detection),
            excluded > 0 ? "; " + std::to_string(excluded) + " are excluded" : "");
  if (output.metrics)
    log->info("Against the truth: F1 {:.3f}, precision {:.3f}, recall {:.3f}", output.metrics->f1,
              output.metrics->precision, output.metrics->recall);
  log->info("Time {}", times.text());
  log->info("Map: {0}/scores.png, report: {0}/report.html", options.output);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CommandLine app("Finds the spectra of an EELS spectrum image that do not fit a trained model.",
                  "eelsvae-detect");
  app.footer(
      "Example:\n"
      "  eelsvae-detect --model run --data CuZn_EELS_mapping.hspy --output found\n"
      "writes scores.hspy, scores.npy, mask.npy, scores.png, histogram.png, summary.json and report.html to "
      "the folder "
      "found. Without a model, by the mean spectrum:\n"
      "  eelsvae-detect --baseline mean --data scan.hspy --set data.energy_range=500,800 --output found");
  app.add_option("--model", options.model, "run folder of eelsvae-train, or a checkpoint");
  app.add_option("--baseline", options.baseline,
                 "instead of a model: mean, pca[:K], rx[:K]; K components, chosen from the data if absent");
  app.add_option("--fit", options.fit, "image that the baseline is fitted to (otherwise --data itself)");
  app.add_option("--config", options.config, "configuration that a baseline takes its preprocessing from");
  app.add_option("--data", options.data, "spectrum image (otherwise the one the model was trained on)");
  app.add_option("--output", options.output, "folder for the results").capture_default_str();
  app.add_option("--truth", options.truth, "mask (y, x) of known anomalies, .npy; adds F1 and the like");
  app.add_flag("--save-reconstruction", options.save_reconstruction,
               "also write reconstruction.npy (y, x, E)");
  app.add_option("--set", options.settings, "override a key: --set detection.threshold=0.3 (repeatable)")
      .type_name("KEY=VALUE")
      .one_value_each_time();
  return app.run(argc, argv, [&] { return run_detection(options); });
}
