#include "interface/session.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "engine/detect/change_words.h"
#include "engine/image/excluded.h"
#include "interface/caller_image.h"
#include "interface/guard.h"
#include "io/config/config.h"
#include "io/config/detection_json.h"
#include "io/files/message_text.h"
#include "io/model/detection_source.h"
#include "io/model/detection_state_file.h"
#include "io/model/remarks.h"
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

void check_model(const ModelInMemory& model) {
  if (model.info.config.preprocess.align_path)
    throw UserError(
        model.file.path() +
        ": was trained with preprocess.align_path, on energies that a low-loss image corrects, which "
        "the library does not take; use eelsvae-detect");
}

}  // namespace

StateInMemory::StateInMemory(std::shared_ptr<const DetectionState> given)
    : state(std::move(given)), content(detection_state_content(*state)) {}

Session::Session(std::shared_ptr<const ModelInMemory> model, const std::vector<std::string>& settings,
                 const eelsvae_options* options)
    : caller_(options), model_(std::move(model)) {
  check_model(*model_);
  check_data_keys(settings);
  source_ =
      source_of_model(model_->info, settings, caller_.options().on_training_image != 0, "configuration");
  begin();
}

Session::Session(const std::string& baseline, const Config& config, const eelsvae_options* options)
    : caller_(options), baseline_(parse_baseline(baseline)), source_(source_of_baseline(baseline_, config)) {
  if (caller_.options().on_training_image)
    throw UserError(
        "options: on_training_image is for sessions with a model; a baseline is fitted to each image");
  begin();
}

Session::Session(std::shared_ptr<const ModelInMemory> model, std::shared_ptr<const StateInMemory> state,
                 const std::vector<std::string>& settings, const eelsvae_options* options)
    : caller_(options), model_(std::move(model)), state_(std::move(state)) {
  check_data_keys(settings);
  if (!model_ && caller_.options().on_training_image)
    throw UserError("options: on_training_image is for sessions with a model; this state has a baseline");
  if (model_) {
    check_model(*model_);
    source_ =
        source_of_model(model_->info, settings, caller_.options().on_training_image != 0, "configuration");
  }
  take_state(state_->state, model_ ? &model_->file : nullptr, settings, "configuration", source_);
  begin();
}

void Session::begin() {
  const DeviceScope device;
  check_no_files(source_.config);
  offer_ = find_backend(source_.config.device, source_.config.precision, "auto", &fallback_);
}

Model& Session::network(int64_t channels, int64_t batch) {
  if (!trained_.model || batch_ != batch) {
    trained_.model.reset();  // before its backend; its memory is free for the next
    trained_ = load_trained_model(model_->file, source_.config, channels, batch, offer_);
    batch_ = batch;
    caller_.info(describe(trained_.choice));
    for (const std::string& note : trained_.backend->notes()) caller_.warn(note);
  }
  return *trained_.model;
}

std::vector<float> Session::held_out_scores() const {
  const Config& config = source_.config;
  if (!model_ || state_ || !config.detection.threshold_by_held_out()) return {};
  const CheckpointInfo& info = model_->info;
  if (!config.detection.scores_like(info.config.detection, config.model.latent) || info.normal_scores.empty())
    throw UserError(
        "detection.threshold_method=conformal: the model has no scores of held-out spectra that were made "
        "like "
        "these; train it with this score and this method, or use fdr");
  return info.normal_scores;
}

std::shared_ptr<const FoundForCaller> Session::detect(const eelsvae_image* given, const eelsvae_image* normal,
                                                      const RecordInputs& records) {
  return detect_in(
      source_, [&](const StopToken&) { return image_of_caller(given, source_.config.data); }, "", normal,
      records);
}

std::shared_ptr<const FoundForCaller> Session::detect(const ImageFile& file, const eelsvae_image* normal,
                                                      const RecordInputs& records) {
  DetectionSource source = source_;
  source.config.data = file.data;
  if (model_) source.description.own_image &= taken_alike(file.data, model_->info.config.data);
  return detect_in(source, file.open, file.path, normal, records);
}

std::shared_ptr<const FoundForCaller> Session::detect_in(
    const DetectionSource& with, const std::function<ImageToRead(const StopToken&)>& open,
    const std::string& path, const eelsvae_image* normal, const RecordInputs& records) {
  const DeviceScope device;
  caller_.go();
  if (normal && (model_ || state_))
    throw UserError(std::string(model_ ? "a model was fitted when it was trained"
                                       : "a state has a baseline that was fitted before") +
                    "; an image to fit to belongs to a baseline alone");
  std::optional<ThreadCount> threads;
  caller_.take_threads(threads);
  const Config& config = with.config;
  ImageToRead image = open(caller_.token());
  caller_.begin("preparing");
  if (!preparing_) {
    preparing_ = offer_.create(offer_.variants.front());
    caller_.info(fallback_);
    caller_.info(preparing_->description());
    for (const std::string& note : preparing_->notes()) caller_.warn(note);
  }
  auto result = std::make_shared<FoundForCaller>();
  result->prepared = prepare_for_detection(with, std::move(image), std::nullopt, *preparing_);
  const PreparedImage& prepared = result->prepared;
  if (with.forgotten && excluded_pixels(prepared.image.excluded, by_request) == 0)
    caller_.info("The training excluded pixels, this detection excludes none; a mask or data.exclude does");
  for (const std::string& note : prepared.notes) caller_.info(note);

  std::optional<Baseline> baseline;
  Model* model = nullptr;
  std::string name;
  if (model_) {
    model = &network(
        prepared.image.energy.size,
        tiles_at_a_time(config.tiles, config.detection, prepared.image.y.size, prepared.image.x.size));
    name = utf8_text(model_->file.path());  // which goes into JSON
  } else {
    caller_.begin("fitting");
    const OpenNormal open_normal = [&](const Config& as) { return image_of_caller(normal, as.data); };
    baseline.emplace(
        baseline_for(with, baseline_, prepared, normal ? open_normal : OpenNormal(), *preparing_));
    name = baseline->describe();
    caller_.info(name);
  }
  const std::vector<float> held_out = held_out_scores();

  const ExpectationSource source = [&](const SpectrumImageView& of) {
    if (baseline) return expect_from(*baseline, of);
    const bool whole = of.counts.data() == prepared.image.counts.data();
    return expect_from(
        *model, of, config.detection,
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
  DetectionResult done = run_detection(prepared.image, and_then_scoring, with.description, config.preprocess,
                                       config.detection, held_out, caller_.token(), with.state.get());
  const Backend& backend = model_ ? *trained_.backend : *preparing_;
  DetectionReport report{prepared.image, done.expectation, done.found, config, path, name};
  report.comparison = done.comparison;
  report.provenance = {{{"eelsvae", EELSVAE_VERSION}, {"device", backend.description()}},
                       records ? records(caller_.token()) : std::vector<InputFile>(),
                       {}};
  std::vector<std::string>& choices = report.provenance.choices;
  for (const std::string& choice : {fallback_, model_ ? describe(trained_.choice) : name})
    if (!choice.empty()) choices.push_back(choice);
  choices.insert(choices.end(), prepared.notes.begin(), prepared.notes.end());
  result->summary = summary_json(report).dump(2) + "\n";
  result->scored_pixels = prepared.image.pixels() - excluded_pixels(prepared.image.excluded);
  for (const Region& region : done.found.regions)
    result->explanations.push_back(sentence(region.explanation, config.detection.elements));
  for (const Remark& remark : remarks_on(prepared, done, config.detection))
    remark.warning ? caller_.warn(remark.text) : caller_.info(remark.text);
  if (state_)
    result->state = state_;
  else if (auto state = state_to_keep(with, prepared, done.found, baseline ? &*baseline : nullptr,
                                      model_ ? &model_->file : nullptr))
    result->state = std::make_shared<const StateInMemory>(std::move(state));
  result->found = std::move(done.found);
  if (caller_.options().keep_spectra)
    result->expected = std::move(done.expectation.spectra);
  else
    result->prepared.image.counts = {};
  return result;
}

}  // namespace eelsvae
