#include "interface/session.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "engine/detect/change_words.h"
#include "engine/detect/kept_detection.h"
#include "engine/image/excluded.h"
#include "engine/short_number.h"
#include "interface/caller_image.h"
#include "interface/guard.h"
#include "io/config/config.h"
#include "io/config/detection_json.h"
#include "io/config/detection_settings.h"
#include "io/files/message_text.h"
#include "io/model/detection_state_file.h"
#include "io/model/trained_model.h"

namespace eelsvae {
namespace {

// How a file is read is no affair of arrays.
void check_data_keys(const std::vector<std::string>& settings) {
  for (const std::string& setting : settings) {
    const std::string key = setting.substr(0, setting.find('='));
    const bool known = key == "data.exclude" || key == "data.exclude_path" || key == "data.energy_range";
    if (key.starts_with("data.") && !known)
      throw UserError(key +
                      ": says how a file is read, and this detection is of arrays; leave it out, and "
                      "give the image its own energy_offset and dispersion");
  }
}

}  // namespace

StateInMemory::StateInMemory(DetectionState given)
    : state(std::make_shared<const DetectionState>(std::move(given))),
      content(detection_state_content(*state)) {}

Session::Session(std::shared_ptr<const ModelInMemory> model, const std::vector<std::string>& settings,
                 const eelsvae_options* options)
    : caller_(options), model_(std::move(model)), config_(model_->info.config) {
  if (config_.preprocess.align_path)
    throw UserError(
        model_->file.path() +
        ": was trained with preprocess.align_path, on energies that a low-loss image corrects, which "
        "the library does not take; use eelsvae-detect");
  check_data_keys(settings);
  if (!caller_.options().on_training_image) forget_training_image(config_.preprocess);
  forgotten_ = apply_to_detection(settings, config_, "configuration");
  check_no_files(config_);
  fitted_ = FittedPreprocess{model_->info.energy, model_->info.scaling, model_->info.alignment};
  choose_device();
}

Session::Session(const std::string& baseline, const Config& config, const eelsvae_options* options)
    : caller_(options), baseline_(parse_baseline(baseline)), config_(config) {
  check_no_files(config_);
  if (caller_.options().on_training_image)
    throw UserError(
        "options: on_training_image is for sessions with a model; a baseline is fitted to each image");
  choose_device();
}

void Session::choose_device() {
  offer_ = find_backend(config_.device, config_.precision, "auto", &fallback_);
}

Model& Session::network(int64_t channels, int64_t batch) {
  if (!trained_.model || batch_ != batch) {
    trained_.model.reset();  // before its backend; its memory is free for the next
    trained_ = load_trained_model(model_->file, config_, channels, batch, offer_);
    batch_ = batch;
    caller_.info(describe(trained_.choice));
    for (const std::string& note : trained_.backend->notes()) caller_.warn(note);
  }
  return *trained_.model;
}

std::vector<float> Session::held_out_scores() const {
  if (!model_ || !config_.detection.threshold_by_held_out()) return {};
  const CheckpointInfo& info = model_->info;
  if (!config_.detection.scores_like(info.config.detection, config_.model.latent) ||
      info.normal_scores.empty())
    throw UserError(
        "detection.threshold_method=conformal: the model has no scores of held-out spectra that were made "
        "like "
        "these; train it with this score and this method, or use fdr");
  return info.normal_scores;
}

SourceDescription Session::description() const {
  if (!model_) return {kind_of(baseline_), 0, {}, false};
  return {SourceDescription::Kind::model, config_.tiles.image_size, model_->info.comparison,
          caller_.options().on_training_image && config_.preprocess == model_->info.config.preprocess};
}

Baseline Session::fit_baseline(const eelsvae_image* normal, const PreparedImage& prepared) const {
  if (!normal) return Baseline(prepared.image, {}, baseline_);
  const Axis own = image_of_caller(normal, {}).image.energy;
  const Axis& needed = prepared.image.energy;
  const double half = 0.5 * own.scale;
  if (needed.value(0) < own.value(0) - half || needed.value(static_cast<double>(needed.size - 1)) >
                                                   own.value(static_cast<double>(own.size - 1)) + half)
    throw UserError("the image that the baseline is fitted to has the energies " + describe(own) +
                    ", the image under test " + describe(needed) + "; fit to one that has all of these");
  Config config = config_;
  forget_training_image(config.preprocess);
  config.data.exclude.clear();
  const FittedPreprocess fitted{prepared.image.energy, prepared.scaling, prepared.alignment};
  return Baseline(prepare(image_of_caller(normal, config.data), config.preprocess, std::nullopt, &fitted,
                          std::nullopt, preparing_.get())
                      .image,
                  {}, baseline_);
}

std::shared_ptr<const FoundForCaller> Session::detect(const eelsvae_image* given,
                                                      const eelsvae_image* normal) {
  return detect([&](const StopToken&) { return image_of_caller(given, config_.data); }, normal);
}

std::shared_ptr<const FoundForCaller> Session::detect(
    const std::function<ImageToRead(const StopToken&)>& open, const eelsvae_image* normal) {
  caller_.go();
  if (model_ && normal)
    throw UserError("a model was fitted when it was trained; an image to fit to belongs to a baseline");
  std::optional<ThreadCount> threads;
  caller_.take_threads(threads);
  const DetectionConfig& detection = config_.detection;
  ImageToRead image = open(caller_.token());
  caller_.begin("preparing");
  if (!preparing_) {
    preparing_ = offer_.create(offer_.variants.front());
    caller_.info(fallback_);
    caller_.info(preparing_->description());
    for (const std::string& note : preparing_->notes()) caller_.warn(note);
  }
  auto result = std::make_shared<FoundForCaller>();
  result->prepared =
      prepare(std::move(image), config_.preprocess, model_ ? std::nullopt : config_.data.energy_range,
              fitted_ ? &*fitted_ : nullptr, std::nullopt, preparing_.get());
  const PreparedImage& prepared = result->prepared;
  if (model_) check_non_negative(prepared.image, config_.loss.reconstruction);
  check_detection(prepared.image, model_ ? config_.tiles.image_size : 0, detection);
  if (forgotten_ && excluded_pixels(prepared.image.excluded, by_request) == 0)
    caller_.info("The training excluded pixels, this detection excludes none; a mask or data.exclude does");
  for (const std::string& note : prepared.notes) caller_.info(note);

  std::optional<Baseline> baseline;
  Model* model = nullptr;
  std::string name;
  if (model_) {
    model = &network(prepared.image.energy.size,
                     tiles_at_a_time(config_.tiles, detection, prepared.image.y.size, prepared.image.x.size));
    name = utf8_text(model_->file.path());  // which goes into JSON
  } else {
    caller_.begin("fitting");
    baseline.emplace(fit_baseline(normal, prepared));
    name = baseline->describe();
    caller_.info(name);
  }
  const std::vector<float> held_out = held_out_scores();

  const ExpectationSource source = [&](const SpectrumImageView& of) {
    if (baseline) return expect_from(*baseline, of);
    const bool whole = of.counts.data() == prepared.image.counts.data();
    return expect_from(
        *model, of, detection,
        [&](int64_t done, int64_t total) {
          caller_.progress(whole ? "reconstructing" : "comparing", done, total);
        },
        caller_.token());
  };
  bool first = true;
  const ExpectationSource and_then_scoring = [&](const SpectrumImageView& of) {
    Expectation expectation = source(of);
    if (std::exchange(first, false)) caller_.begin("scoring");
    return expectation;
  };
  DetectionResult done = run_detection(prepared.image, and_then_scoring, description(), config_.preprocess,
                                       detection, held_out, caller_.token());
  const Backend& backend = model_ ? *trained_.backend : *preparing_;
  DetectionReport report{prepared.image, done.expectation, done.found, config_, "", name};
  report.comparison = done.comparison;
  report.provenance = {{{"eelsvae", EELSVAE_VERSION}, {"device", backend.description()}}, {}, prepared.notes};
  result->summary = summary_json(report).dump(2) + "\n";
  result->scored_pixels = prepared.image.pixels() - excluded_pixels(prepared.image.excluded);
  for (const Region& region : done.found.regions)
    result->explanations.push_back(sentence(region.explanation, detection.elements));
  caller_.info(std::to_string(done.found.anomalous_pixels()) + " of " +
               std::to_string(result->scored_pixels) + " spectra do not fit (score above " +
               short_number(done.found.threshold, 4) + ")");
  for (const std::string& doubt : done.found.doubts) caller_.warn("Not to be trusted: " + doubt);
  if (done.found.null && why_not_kept(config_.preprocess, detection).empty()) {
    DetectionState state =
        keep_detection(prepared, done.found, baseline ? &*baseline : nullptr, config_.preprocess, detection);
    if (model_) state.model_fingerprint = model_fingerprint(model_->file);
    result->state = std::make_shared<const StateInMemory>(std::move(state));
  }
  result->found = std::move(done.found);
  if (caller_.options().keep_spectra)
    result->expected = std::move(done.expectation.spectra);
  else
    result->prepared.image.counts = {};
  return result;
}

}  // namespace eelsvae
