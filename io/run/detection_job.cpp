#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "engine/detect/baselines.h"
#include "engine/detect/comparison.h"
#include "engine/detect/job.h"
#include "engine/image/excluded.h"
#include "engine/network/reconstruction.h"
#include "engine/noise/filtered_noise.h"
#include "engine/prepare/preprocess.h"
#include "engine/train/trainer.h"
#include "io/config/config.h"
#include "io/files/npy.h"
#include "io/files/output_folder.h"
#include "io/formats/image_data.h"
#include "io/model/checkpoint.h"
#include "io/model/trained_model.h"
#include "io/run/automatic_job.h"
#include "io/run/detect_folder.h"
#include "io/run/jobs.h"
#include "io/run/training_run.h"
#include "io/terminal/program.h"
#include "io/terminal/progress.h"
#include "io/terminal/run_log.h"
#include "io/terminal/stage_times.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

// Keys that speak of one image and not of what the model learned from it.
constexpr std::array<const char*, 5> image_keys = {"preprocess.crop_y", "preprocess.crop_x",
                                                   "preprocess.set_aside", "preprocess.align_path",
                                                   "preprocess.align_dataset"};

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
      throw UserError("--set " + key +
                      ": belongs to the trained model; a detection can set detection.*, data.*, "
                      "preprocess.crop_y, preprocess.crop_x, preprocess.set_aside, preprocess.align_path, "
                      "preprocess.align_dataset, "
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
  return config.threshold_by_rate() ? fmt::format(", at a false-discovery rate of {:.3g} %", 100 * config.fdr)
                                    : "";
}

// What a detection works with, wherever its expectations come from.
struct Source {
  Config config;
  Config training = {};  // of a model, with this detection's settings: how its own image is scored
  std::optional<FittedPreprocess> fitted;  // of a trained model
  std::string name;
  std::vector<EpochRecord> history = {};
  std::optional<Comparison> comparison = {};  // of a model, on spectra of its own image
  bool forgotten = false;                     // the training excluded pixels
};

Source model_source(const DetectionRequest& request, const SafetensorsFile& file) {
  CheckpointInfo info = read_checkpoint_info(file);
  const bool drift_elsewhere = info.config.preprocess.align_path.has_value();
  Config training = info.config;
  if (!request.data.empty() && request.data != info.config.data.data_path)
    forget_training_image(info.config.preprocess);
  const bool forgotten = apply(request.settings, info.config);
  const std::string& data = request.data.empty() ? info.config.data.data_path : request.data;
  if (drift_elsewhere != info.config.preprocess.align_path.has_value())
    throw UserError(drift_elsewhere ? file.path() +
                                          ": was trained with preprocess.align_path; give the low-loss image "
                                          "of " +
                                          data + " with --set preprocess.align_path=FILE"
                                    : "--set preprocess.align_path: " + file.path() +
                                          " was trained without it; leave it out");
  training.detection = info.config.detection;
  return {info.config, std::move(training),     FittedPreprocess{info.energy, info.scaling, info.alignment},
          file.path(), std::move(info.history), info.comparison,
          forgotten};
}

Source baseline_source(const DetectionRequest& request) {
  Config config;
  if (!request.config.empty()) config = read_config(request.config, {});
  for (const std::string& setting : request.settings) set_value(config, setting);
  check_config(config, "--set");
  if (request.data.empty() && config.data.data_path.empty()) throw UserError("no data: give --data FILE");
  return {std::move(config), {}, std::nullopt, "", {}, {}, false};
}

// The image that a baseline is fitted to, if not the one under test; the same preprocessing as that.
Baseline fit_baseline(const DetectionRequest& request, const Source& source, const PreparedImage& prepared,
                      Backend& backend) {
  const BaselineSpec spec = parse_baseline(request.baseline);
  if (request.fit.empty()) return Baseline(prepared.image, {}, spec);
  Config config = source.config;
  forget_training_image(config.preprocess);
  config.data.exclude_path.reset();
  config.data.exclude.clear();
  const FittedPreprocess fitted{prepared.image.energy, prepared.scaling, prepared.alignment};
  const PreparedImage normal = prepare(read_image_data(request.fit, config, interruption()),
                                       config.preprocess, std::nullopt, &fitted, std::nullopt, &backend);
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
  if (!source.fitted || !detection.threshold_by(ThresholdMethod::conformal)) return std::nullopt;
  const Config& training = source.training;
  HeldOut held_out;
  DataConfig detected = source.config.data;
  detected.data_path = data;
  if (!(detected == training.data && source.config.preprocess == training.preprocess))
    held_out.image =
        prepare(read_image_data(training.data.data_path, training, interruption()), training.preprocess,
                std::nullopt, &*source.fitted, read_drift_image(training, interruption()), &backend);
  const SpectrumImage& image = held_out.image ? held_out.image->image : prepared.image;
  held_out.pixels = held_out_pixels(split_tiles(image, training.tiles, training.training), image,
                                    noise_lag(training.preprocess.sigma, training.preprocess.xy_window));
  if (std::find(held_out.pixels.begin(), held_out.pixels.end(), 1) == held_out.pixels.end())
    throw UserError("detection.threshold_method=conformal needs spectra that were held out of training; " +
                    source.name + " held none out (training.validation_fraction)");
  return held_out;
}

// How well normal spectra of the image are predicted, by the model if there is one and by the baselines: on
// the spectra that the model's training held out where the image is its own, otherwise on a tenth of the
// image, which the baselines are then not fitted to.
std::optional<Comparison> compare(const Source& source, const std::string& data,
                                  const PreparedImage& prepared, const ExpectationSource& model) {
  if (source.fitted && data == source.training.data.data_path) return source.comparison;
  const auto spread = spread_sample(prepared.image, source.fitted ? source.config.tiles.image_size : 0,
                                    source.config.preprocess);
  if (!spread) return std::nullopt;
  std::optional<Comparison> comparison = compare_baselines(spread->sample, prepared.image, spread->pixels);
  if (comparison && source.fitted) comparison->model = predictive_deviance(spread->sample, model);
  return comparison;
}

// Normal spectra that were held out of the training tell what is normal in another image only as long as that
// is as the model knows it. "": nothing speaks against it.
std::string drift(const Source& source, const std::optional<Comparison>& here) {
  constexpr double most = 0.02;  // of the noise's variance
  if (!source.config.detection.threshold_by(ThresholdMethod::conformal) || !here || !here->model ||
      !source.comparison || !source.comparison->model || *here->model <= *source.comparison->model + most)
    return "";
  return fmt::format(
      "the model predicts normal spectra of this image worse than those of its own (predictive deviance "
      "{:.4g}, {:.4g} there), so that their scores say little of these; use detection.threshold_method=fdr, "
      "or train on this image",
      *here->model, *source.comparison->model);
}

// How well the source itself predicts; absent where it is not among what is compared.
std::optional<double> own_deviance(const Source& source, const std::string& baseline,
                                   const Comparison& comparison) {
  if (source.fitted) return comparison.model;
  const BaselineSpec spec = parse_baseline(baseline);
  if (spec.kind == BaselineSpec::Kind::mean) return comparison.mean;
  return spec.kind == BaselineSpec::Kind::pca ? comparison.pca : std::nullopt;
}

// Where what is expected of normal spectra is wrong by more than their noise, what is left over is not noise,
// and no null is fitted to it with reason. "": it is not, or nobody knows.
std::string misfit(const DetectionConfig& detection, std::optional<double> own,
                   const Comparison& comparison) {
  constexpr double most = 2;
  if (!detection.threshold_by_rate() || !own) return "";
  // A perfect expectation has 1: less says that the unit is wrong.
  constexpr double least = 0.7;
  if (*own < least)
    return fmt::format(
        "neighbouring pixels differ by more than noise, which passed for noise (predictive deviance {:.3g}, "
        "1 "
        "at least where it did not); preprocess.crop_y, crop_x or data.exclude leave borders out",
        *own);
  if (*own <= most) return "";
  const double pca = comparison.pca.value_or(comparison.mean);
  std::string remedy =
      "a model of this specimen may describe them better, and data.exclude leaves regions out";
  if (comparison.mean < *own || pca < *own)
    remedy =
        std::string("--baseline ") + (comparison.mean < pca ? "mean" : "pca:auto") + " describes them better";
  return fmt::format(
      "what is expected of normal spectra is wrong by more than their noise (predictive deviance {:.3g}, 1 "
      "where only noise is left); {}",
      *own, remedy);
}

void tell(const Comparison& comparison, spdlog::logger& log) {
  log.info("{}", describe(comparison));
  if (comparison.model && *comparison.model >= comparison.mean)
    log.warn(
        "The model describes these spectra no better than the mean spectrum does; a model of this "
        "specimen, or --baseline, may find more");
}

// What a model expects, with progress on the terminal.
Expectation reconstruct(Model& model, const SpectrumImageView& image, const DetectionConfig& detection,
                        const std::string& title) {
  std::optional<Progress> progress;
  Expectation expectation = expect_from(
      model, image, detection,
      [&](int64_t done, int64_t total) {
        if (!progress) progress.emplace(title, total, "tiles");
        progress->update(done);
      },
      interruption());
  if (progress) progress->finish();
  return expectation;
}

}  // namespace

int run_detection(const DetectionRequest& request) {
  if (!request.model.empty() && !request.baseline.empty())
    throw UserError("give either --model RUN or --baseline NAME");
  if (request.model.empty() && request.baseline.empty()) return run_automatic(request);
  if (request.minutes)
    throw UserError(std::string("--minutes is for a model that is still to be trained; leave it out with ") +
                    (request.model.empty() ? "--baseline" : "--model"));
  if (request.baseline.empty() && !(request.fit.empty() && request.config.empty()))
    throw UserError("--fit and --config belong to --baseline; a model brings its own configuration");
  std::optional<SafetensorsFile> file;
  if (!request.model.empty()) file.emplace(model_file(request.model));
  if (!request.baseline.empty()) parse_baseline(request.baseline);
  Source source = file ? model_source(request, *file) : baseline_source(request);
  const Config& config = source.config;
  const std::string data = request.data.empty() ? config.data.data_path : request.data;

  StageTimes times;
  SpectrumImage image = read_image_data(data, config, interruption());
  const int64_t height = image.y.size, width = image.x.size;
  std::optional<SpectrumImage> drift_image = read_drift_image(config, interruption());
  times.end("reading");
  std::string fallback;
  const BackendOffer offer = find_backend(config.device, config.precision, "auto", &fallback);
  TrainedModel trained;
  trained.backend = offer.create(offer.variants.front());
  const PreparedImage prepared =
      prepare(std::move(image), config.preprocess, file ? std::nullopt : config.data.energy_range,
              file ? &*source.fitted : nullptr, std::move(drift_image), trained.backend.get());
  if (file) check_non_negative(prepared.image, config.loss.reconstruction);
  check_detection(prepared.image, file ? config.tiles.image_size : 0, config.detection);
  std::vector<uint8_t> truth;
  if (!request.truth.empty())
    truth = reduce_mask(read_npy_mask(request.truth, height, width), height, width, config.preprocess);
  times.end("preparing");

  std::optional<Baseline> baseline;
  if (file) {
    trained = load_trained_model(*file, config, prepared.image.energy.size,
                                 tiles_at_a_time(config.tiles, config.detection, prepared.image), offer);
  } else {
    baseline.emplace(fit_baseline(request, source, prepared, *trained.backend));
    source.name = baseline->describe();
  }
  times.end(file ? "model" : "fitting");
  const std::optional<HeldOut> held_out = find_held_out(source, data, prepared, *trained.backend);

  // From here on only the machine can fail.
  prepare_output_folder(request.output, detect_folder_bytes(prepared.image, request.save_reconstruction));
  const auto log = make_run_log(request.output, true);
  if (!fallback.empty()) log->info("{}", fallback);
  log->info("{}", trained.backend->description());
  if (const std::string note = describe(trained.choice); file && !note.empty()) log->info("{}", note);
  for (const std::string& note : trained.backend->notes()) log->warn("{}", note);
  if (baseline) log->info("{}", source.name);
  const int64_t excluded = excluded_pixels(prepared.image.excluded);
  if (source.forgotten && excluded_pixels(prepared.image.excluded, by_request) == 0)
    log->info(
        "The training excluded pixels, this detection excludes none; --set data.exclude_path or "
        "data.exclude does");
  for (const std::string& note : prepared.notes) log->info("{}", note);

  const ExpectationSource expected = [&](const SpectrumImageView& of) {
    Expectation expectation = baseline ? expect_from(*baseline, of)
                                       : reconstruct(*trained.model, of, config.detection,
                                                     of.counts.data() == prepared.image.counts.data()
                                                         ? "Reconstructing"
                                                         : "Reconstructing what was trained on");
    times.end("reconstructing");
    return expectation;
  };
  std::optional<NormalSpectra> normal;
  if (held_out)
    normal.emplace(NormalSpectra{held_out->image ? held_out->image->image : prepared.image,
                                 source.training.preprocess, held_out->pixels});
  DetectionResult result = run_detection(prepared.image, expected, config.preprocess, config.detection,
                                         normal ? &*normal : nullptr);
  if (normal)
    log->info("{} spectra of {} were held out of training", result.normal_spectra,
              source.training.data.data_path);
  times.end("scoring");
  const std::optional<Comparison> comparison =
      compare(source, data, prepared, [&](const SpectrumImageView& of) {
        return expect_from(*trained.model, of, config.detection, {}, interruption());
      });
  interruption().stop_if_requested();
  std::vector<std::string> doubts = {drift(source, comparison)};
  if (comparison)
    doubts.push_back(
        misfit(config.detection, own_deviance(source, request.baseline, *comparison), *comparison));
  for (const std::string& doubt : doubts)
    if (!doubt.empty()) result.found.doubts.push_back(doubt);
  times.end("comparing");

  const Detection& found = result.found;
  DetectionReport report{prepared.image, result.expectation, found,         config,
                         data,           source.name,        source.history};
  report.comparison = comparison;
  report.truth = truth;
  if (!truth.empty())
    report.metrics = detection_metrics(found.scores, truth, found.threshold, prepared.image.excluded);
  report.versions = {{"eelsvae", EELSVAE_VERSION}, {"device", trained.backend->description()}};
  write_detect_folder(request.output, report, request.save_reconstruction);
  times.end("report");

  log->info("{} of {} spectra do not fit (score above {:.4g}{}){}", found.anomalous_pixels(),
            prepared.image.pixels() - excluded, found.threshold, rate_text(config.detection),
            excluded > 0 ? "; " + std::to_string(excluded) + " are excluded" : "");
  if (comparison) tell(*comparison, *log);
  for (const std::string& doubt : found.doubts) log->warn("Not to be trusted: {}", doubt);
  if (report.metrics)
    log->info("Against the truth: F1 {:.3f}, precision {:.3f}, recall {:.3f}", report.metrics->f1,
              report.metrics->precision, report.metrics->recall);
  log->info("Time {}", times.text());
  log->info("Map: {0}/scores.png, report: {0}/report.html", request.output);
  return 0;
}

}  // namespace eelsvae
