#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "engine/detect/baselines.h"
#include "engine/detect/comparison.h"
#include "engine/detect/job.h"
#include "engine/image/excluded.h"
#include "engine/network/reconstruction.h"
#include "engine/prepare/preprocess.h"
#include "engine/train/trainer.h"
#include "io/config/config.h"
#include "io/files/npy.h"
#include "io/formats/image_data.h"
#include "io/formats/input_digest.h"
#include "io/formats/spectrum_image_file.h"
#include "io/model/checkpoint.h"
#include "io/model/detection_source.h"
#include "io/model/detection_state_file.h"
#include "io/model/remarks.h"
#include "io/model/trained_model.h"
#include "io/run/automatic_job.h"
#include "io/run/detect_folder.h"
#include "io/run/job_folder.h"
#include "io/run/jobs.h"
#include "io/run/training_run.h"
#include "io/terminal/program.h"
#include "io/terminal/progress.h"
#include "io/terminal/run_log.h"
#include "io/terminal/stage_times.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

std::string against_truth(const DetectionMetrics& metrics) {
  if (metrics.true_positives + metrics.false_negatives == 0)
    return fmt::format("nothing is anomalous there; {} found are false", metrics.false_positives);
  return fmt::format("F1 {:.3f}, precision {:.3f}, recall {:.3f}", metrics.f1, metrics.precision,
                     metrics.recall) +
         (metrics.average_precision ? fmt::format(", average precision {:.3f}", *metrics.average_precision)
                                    : "");
}

// What a detection works with, wherever its expectations come from.
struct Source : DetectionSource {
  std::string name = {};
  BaselineSpec baseline = {};
  // Of a trained model:
  Config training = {};  // with this detection's settings: how its own image is scored
  std::vector<EpochRecord> history = {};
  DetectionConfig calibrated = {};        // by which these scores of
  std::vector<float> normal_scores = {};  // held-out spectra were made
};

Source model_source(const DetectionRequest& request, const SafetensorsFile& file) {
  CheckpointInfo info = read_checkpoint_info(file);
  const std::string& trained_on = info.config.data.data_path;
  const std::string& data = request.data.empty() ? trained_on : request.data;
  Source source{source_of_model(info, request.settings, data == trained_on, "--set")};
  const bool drift = source.config.preprocess.align_path.has_value();
  if (drift != info.config.preprocess.align_path.has_value())
    throw UserError(
        drift ? "--set preprocess.align_path: " + file.path() + " was trained without it; leave it out"
              : file.path() + ": was trained with preprocess.align_path; give the low-loss image of " + data +
                    " with --set preprocess.align_path=FILE");
  source.description.own_image &= taken_alike(source.config.data, info.config.data);
  source.name = file.path();
  source.calibrated = info.config.detection;
  source.history = std::move(info.history);
  source.normal_scores = std::move(info.normal_scores);
  source.training = std::move(info.config);
  source.training.detection = source.config.detection;
  return source;
}

Source untrained_source(const DetectionRequest& request, const Chosen* chosen) {
  Config config;
  if (chosen) config = chosen->config;
  if (!request.config.empty()) config = read_config(request.config, {});
  for (const std::string& setting : request.settings) set_value(config, setting);
  check_config(config, "--set");
  if (request.data.empty() && config.data.data_path.empty()) throw UserError("no data: give --data FILE");
  if (!request.expectation.empty()) {
    if (config.preprocess.align != Align::none)
      throw UserError("preprocess.align: shifts that are measured in DATA are not those of " +
                      request.expectation + "; align DATA first, with eelsvae-convert");
    Source source{{std::move(config)}};
    source.name = request.expectation;
    return source;
  }
  const BaselineSpec spec = parse_baseline(request.baseline);
  Source source{source_of_baseline(spec, std::move(config))};
  source.baseline = spec;
  return source;
}

// Puts the state of another scan's detection into a source: a model's, or none yet.
void take_given_state(const DetectionRequest& request, const SafetensorsFile* file, Source& source) {
  try {
    take_state(std::make_shared<const DetectionState>(load_detection_state(request.state)), file,
               request.settings, "--set", source);
  } catch (const UserError& error) {
    const std::string what = error.what();
    throw UserError(what.starts_with("the state ") ? "--state " + request.state + ": " + what : what);
  }
  if (request.data.empty()) throw UserError("no data: give --data FILE");
}

// Which image of a file is an expectation for an image with these axes: the only one of so many numbers; -1
// where none is, or only one is there.
int64_t expectation_image(const std::string& file, const SpectrumImage& axes) {
  const std::vector<ImageInfo> images = list_images(file);
  std::vector<int64_t> fitting;
  for (size_t i = 0; i < images.size(); ++i)
    if (!images[i].shape.empty() && element_count(images[i].shape, 1) == axes.pixels() * axes.energy.size)
      fitting.push_back(static_cast<int64_t>(i));
  if (fitting.size() > 1)
    throw UserError(file + ": holds " + std::to_string(fitting.size()) +
                    " images of the size of the spectrum image, '" +
                    images[static_cast<size_t>(fitting[0])].title + "' and '" +
                    images[static_cast<size_t>(fitting[1])].title +
                    "' among them; give a file that holds the expectation alone");
  return fitting.empty() ? -1 : fitting.front();
}

// An expectation that has energies of its own has those of the spectra. Half a channel is left to rounding.
void check_same_energies(const std::string& file, const Axis& own, const Axis& spectra) {
  if (own.units != "eV" || spectra.units != "eV") return;
  const double last = static_cast<double>(spectra.size - 1), half = 0.5 * spectra.scale;
  if (std::abs(own.value(0) - spectra.value(0)) <= half &&
      std::abs(own.value(last) - spectra.value(last)) <= half)
    return;
  throw UserError(
      file + ": its energies are " + describe(own) + ", those of the spectrum image " + describe(spectra) +
      "; where the expectation belongs to these spectra, calibrate both by data.energy_offset and "
      "data.dispersion");
}

// Another program's expectation, prepared as `prepared` was made of an image with these axes. What is in
// single pixels of that image, spikes and missing counts, is not looked for in it.
CountArray read_expectation(const std::string& file, const DataConfig& data, const SpectrumImage& axes,
                            const PreprocessConfig& preprocess, const PreparedImage& prepared,
                            Backend& backend) {
  Config config;
  config.data.data_path = file;
  config.data.dataset = expectation_image(file, axes);
  config.data.axes = data.axes;
  config.data.swap_axes = data.swap_axes;
  if (data.energy_offset && data.dispersion) {
    config.data.energy_offset = data.energy_offset;
    config.data.dispersion = data.dispersion;
  }
  config.preprocess = preprocess;
  config.preprocess.despike = 0;
  config.preprocess.set_aside = 0;
  ImageToRead image = open_image_data(file, config, interruption());
  const auto size_of = [](const SpectrumImage& of) {
    return fmt::format("{} x {} pixels and {} channels", of.y.size, of.x.size, of.energy.size);
  };
  if (size_of(image.image) != size_of(axes))
    throw UserError(file + ": has " + size_of(image.image) + ", and the spectrum image has " + size_of(axes) +
                    "; an expectation has a spectrum for each of its spectra");
  if (!(data.energy_offset && data.dispersion)) check_same_energies(file, image.image.energy, axes.energy);
  image.image.y = axes.y;
  image.image.x = axes.x;
  image.image.energy = axes.energy;
  // Rows and columns that make no bin are read, too, and only the image's own mask knows of them.
  std::vector<uint8_t>& excluded = image.image.excluded = axes.excluded;
  const std::vector<uint8_t> used = full_mask(prepared.image.excluded, axes.y.size, axes.x.size, preprocess);
  excluded.resize(std::max(excluded.size(), used.size()));
  for (size_t i = 0; i < used.size(); ++i) excluded[i] |= used[i];
  const FittedPreprocess fitted{prepared.image.energy, prepared.scaling, prepared.alignment};
  CountArray spectra =
      prepare(std::move(image), config.preprocess, std::nullopt, &fitted, std::nullopt, &backend)
          .image.counts;
  if (spectra == prepared.image.counts)
    throw UserError(
        file + ": holds the spectra themselves, from which nothing departs; give what is expected of them");
  return spectra;
}

// The spectra that the model's training held out of its own image, for a conformal threshold.
struct HeldOut {
  std::vector<float> scores;           // as the checkpoint has them; or empty, and then
  std::optional<PreparedImage> image;  // where it is not the one under detection
  std::vector<uint8_t> pixels;         // (y, x)
};

ImageToRead open_training_image(const Source& source) {
  try {
    return open_image_data(source.training.data.data_path, source.training, interruption());
  } catch (const UserError& error) {
    throw UserError(
        std::string(error.what()) +
        "; it was trained on, and a conformal threshold needs it, for the checkpoint has no scores that were "
        "made like these: train with detection.threshold_method=conformal and this score, or use fdr");
  }
}

// Where the threshold asks for them. The checkpoint has their scores if these are made as the training was
// told, otherwise the training image is read again. `data` and `prepared`: the image under detection.
std::optional<HeldOut> find_held_out(const Source& source, const std::string& data,
                                     const PreparedImage& prepared, Backend& backend) {
  const DetectionConfig& detection = source.config.detection;
  if (!source.fitted || source.state || !detection.threshold_by_held_out()) return std::nullopt;
  HeldOut held_out;
  if (detection.scores_like(source.calibrated, source.config.model.latent))
    held_out.scores = source.normal_scores;
  if (!held_out.scores.empty()) return held_out;
  const Config& training = source.training;
  DataConfig detected = source.config.data;
  detected.data_path = data;
  if (!(detected == training.data && source.config.preprocess == training.preprocess))
    held_out.image = prepare(open_training_image(source), training.preprocess, std::nullopt, &*source.fitted,
                             open_drift_image(training, interruption()), &backend);
  held_out.pixels = held_out_pixels(held_out.image ? held_out.image->image : prepared.image, training);
  if (std::ranges::count(held_out.pixels, 1) == 0)
    throw UserError("detection.threshold_method=conformal needs spectra that were held out of training; " +
                    source.name + " held none out (training.validation_fraction)");
  return held_out;
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

// A folder in which a model was trained keeps it, so only detections by that model belong there.
void check_model_inside(const DetectionRequest& request) {
  namespace fs = std::filesystem;
  const RunFolder inside{fs::path(request.output) / "model"};
  if (inside.existing().empty()) return;
  std::error_code ignored;
  if (!request.model.empty() && fs::equivalent(model_file(request.model), inside.best(), ignored)) return;
  throw UserError("output folder " + request.output + ": holds a model of its own, " + inside.path.string() +
                  ", and takes only what that finds; choose another --output");
}

}  // namespace

int run_detection(const DetectionRequest& request) {
  const int given = !request.model.empty() + !request.baseline.empty() + !request.expectation.empty();
  if (given > 1) throw UserError("give one of --model RUN, --baseline NAME and --expectation FILE");
  if (!request.state.empty() && (!request.baseline.empty() || !request.expectation.empty()))
    throw UserError("--state brings its own baseline; leave --baseline and --expectation out");
  for (const std::string& name : request.beside) parse_baseline(name);
  JobFolder output(request.output, JobFolder::Kind::detection);
  if (given == 0 && request.state.empty()) return run_automatic(request, output);
  check_model_inside(request);
  return detect_into(output, request);
}

int detect_into(JobFolder& output, const DetectionRequest& request, const Chosen* chosen) {
  if (request.minutes)
    throw UserError(std::string("--minutes is for a model that is still to be trained; leave it out with ") +
                    (!request.model.empty()      ? "--model"
                     : !request.baseline.empty() ? "--baseline"
                                                 : "--expectation"));
  if (!request.model.empty() && !request.config.empty())
    throw UserError("--config belongs to --baseline or --expectation; a model brings its own configuration");
  if (!request.state.empty() && !request.config.empty())
    throw UserError("--state brings its own configuration; leave --config out");
  if (request.baseline.empty() && !request.fit.empty())
    throw UserError("--fit belongs to --baseline, which is fitted to an image");
  std::optional<SafetensorsFile> file;
  if (!request.model.empty()) file.emplace(model_file(request.model));
  Source source = file                    ? model_source(request, *file)
                  : request.state.empty() ? untrained_source(request, chosen)
                                          : Source{Config{}};
  if (!request.state.empty()) take_given_state(request, file ? &*file : nullptr, source);
  const Config& config = source.config;
  const std::string data = request.data.empty() ? config.data.data_path : request.data;

  StageTimes times;
  std::vector<std::string> files = input_files(data, config);
  if (!request.fit.empty()) std::ranges::copy(image_files(request.fit), std::back_inserter(files));
  if (!request.expectation.empty())
    std::ranges::copy(image_files(request.expectation), std::back_inserter(files));
  if (file) files.push_back(file->path());
  if (!request.state.empty()) files.push_back(state_file(request.state));
  InputRecords inputs(std::move(files));
  ImageToRead image = open_image_data(data, config, interruption());
  const SpectrumImage axes = image.image;  // it has no counts yet
  const int64_t height = axes.y.size, width = axes.x.size;
  image.read = [&times, read = std::move(image.read)](const ImagePart& part, CountArray& counts) {
    times.end("starting");
    const bool finite = read(part, counts);
    times.end("reading");
    return finite;
  };
  std::optional<ImageToRead> drift_image = open_drift_image(config, interruption());
  std::string fallback;
  const BackendOffer offer = find_backend(config.device, config.precision, "auto", &fallback);
  TrainedModel trained;
  trained.backend = offer.create(offer.variants.front());
  const PreparedImage prepared =
      prepare_for_detection(source, std::move(image), std::move(drift_image), *trained.backend);
  Truth truth;
  if (!request.truth.empty()) {
    truth = read_npy_truth(request.truth, height, width);
    for (std::vector<uint8_t>* mask : {&truth.anomalous, &truth.undecided})
      if (!mask->empty()) *mask = reduce_mask(*mask, height, width, config.preprocess);
  }
  times.end("preparing");

  std::optional<Baseline> baseline;
  CountArray given;  // by another program
  if (file) {
    trained = load_trained_model(
        *file, config, prepared.image.energy.size,
        tiles_at_a_time(config.tiles, config.detection, prepared.image.y.size, prepared.image.x.size), offer);
  } else if (!request.expectation.empty()) {
    given = read_expectation(request.expectation, config.data, axes, config.preprocess, prepared,
                             *trained.backend);
  } else {
    const OpenNormal open = [&](const Config& as) {
      return open_image_data(request.fit, as, interruption());
    };
    baseline.emplace(baseline_for(source, source.baseline, prepared,
                                  request.fit.empty() ? OpenNormal() : open, *trained.backend));
    source.name = baseline->describe();
  }
  times.end(file ? "model" : "fitting");
  std::optional<HeldOut> held_out = find_held_out(source, data, prepared, *trained.backend);

  // From here on only the machine can fail, and the scores.
  output.prepare(detect_folder_bytes(prepared.image, request.save_reconstruction));
  if (chosen && chosen->begin) chosen->begin();
  const auto log = make_run_log(request.output, true);
  output.warn(*log);
  std::vector<std::string> choices = request.choices;
  const auto choose = [&](const std::string& note) {
    if (note.empty()) return;
    log->info("{}", note);
    choices.push_back(note);
  };
  choose(fallback);
  log->info("{}", trained.backend->description());
  if (file) choose(describe(trained.choice));
  for (const std::string& note : trained.backend->notes()) log->warn("{}", note);
  if (!file) choose(source.name);
  if (source.forgotten && excluded_pixels(prepared.image.excluded, by_request) == 0)
    log->info(
        "The training excluded pixels, this detection excludes none; --set data.exclude_path or "
        "data.exclude does");
  for (const std::string& note : prepared.notes) choose(note);

  const ExpectationSource expected = [&](const SpectrumImageView& of) {
    Expectation expectation = baseline ? expect_from(*baseline, of)
                              : !file  ? Expectation{std::move(given), {}, {}, {}}
                                      // asked for once, of a kind of its own
                                      : reconstruct(*trained.model, of, config.detection,
                                                    of.counts.data() == prepared.image.counts.data()
                                                        ? "Reconstructing"
                                                        : "Reconstructing spectra to compare with");
    times.end("reconstructing");
    return expectation;
  };
  std::vector<float> normal;
  if (held_out) {
    normal = std::move(held_out->scores);
    if (normal.empty()) {
      const SpectrumImage& trained_on = held_out->image ? held_out->image->image : prepared.image;
      normal =
          normal_scores({trained_on, source.training.preprocess, std::move(held_out->pixels)},
                        expected(trained_on), config.detection, {&config.detection.score, 1}, interruption())
              .front();
    }
    log->info("{} spectra of {} were held out of training", normal.size(), source.training.data.data_path);
  }
  const auto score = [&] {
    try {
      return run_detection(prepared.image, expected, source.description, config.preprocess, config.detection,
                           normal, interruption(), source.state.get());
    } catch (const UserError&) {  // only the scores tell whether noise and threshold can be found
      output.take_back();
      throw;
    }
  };
  DetectionResult result = score();
  const std::optional<Comparison>& comparison = result.comparison;
  times.end("scoring");

  const Detection& found = result.found;
  DetectionReport report{prepared.image, result.expectation, found,         config,
                         data,           source.name,        source.history};
  report.comparison = comparison;
  report.truth = truth.anomalous;
  std::vector<uint8_t> left_out = prepared.image.excluded;
  left_out.resize(truth.anomalous.size());
  for (size_t i = 0; i < truth.undecided.size(); ++i)
    left_out[i] |= truth.undecided[i] && !truth.anomalous[i];
  const auto measure = [&](const Detection& of) {
    return truth.anomalous.empty()
               ? std::nullopt
               : std::optional(detection_metrics(of.scores, truth.anomalous, of.threshold, left_out));
  };
  report.metrics = measure(found);
  for (const std::string& name : request.beside) {
    interruption().stop_if_requested();
    try {
      check_detection(prepared.image, 0, config.detection);
      const Baseline other(prepared.image, {}, parse_baseline(name));
      const Expectation expectation = expect_from(other, prepared.image);
      DetectionConfig by = config.detection;
      if (!expectation.own_scores.empty()) by.threshold.reset();  // which is of another score
      Detection map = detect_pixels(prepared.image, expectation, config.preprocess, by);
      const std::optional<DetectionMetrics> metrics = measure(map);
      report.beside.push_back({other.describe(), score_name(expectation, by), std::move(map), metrics});
    } catch (const UserError& error) {  // what was found stands without it
      log->warn("Not beside it, {}: {}", name, error.what());
    }
    times.end("beside");
  }
  std::vector<InputFile> recorded = inputs.get(interruption());
  times.end("digests");
  report.provenance = {{{"eelsvae", EELSVAE_VERSION}, {"device", trained.backend->description()}},
                       std::move(recorded),
                       std::move(choices)};
  // What the next scan of the specimen may be scored by. That of another scan stays where it is.
  const std::shared_ptr<const DetectionState> state =
      source.state
          ? nullptr
          : state_to_keep(source, prepared, found, baseline ? &*baseline : nullptr, file ? &*file : nullptr);
  write_detect_folder(request.output, report, request.save_reconstruction, state.get());
  times.end("report");

  for (const Remark& remark : remarks_on(prepared, result, config.detection))
    log->log(remark.warning ? spdlog::level::warn : spdlog::level::info, "{}", remark.text);
  if (report.metrics) log->info("Against the truth: {}", against_truth(*report.metrics));
  for (const DetectionReport::Beside& beside : report.beside)
    log->info("Beside it, {}: {} do not fit{}{}", beside.name, beside.found.anomalous_pixels(),
              beside.found.trusted() ? "" : ", not to be trusted",
              beside.metrics ? "; " + against_truth(*beside.metrics) : "");
  log->info("Time {}", times.text());
  log->info("Map: {0}/scores.png, report: {0}/report.html", request.output);
  return 0;
}

}  // namespace eelsvae
