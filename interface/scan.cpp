#include "interface/scan.h"

#include <cmath>
#include <utility>

#include <nlohmann/json.hpp>

#include "engine/detect/kept_detection.h"
#include "interface/caller_image.h"
#include "interface/guard.h"
#include "io/config/config.h"
#include "io/config/detection_json.h"
#include "io/config/detection_settings.h"
#include "io/model/detection_state_file.h"
#include "io/model/model_rows.h"

namespace eelsvae {
namespace {

RowSession session_for(const std::shared_ptr<const StateInMemory>& state, const eelsvae_plan* plan) {
  int64_t patience = 0;
  ScanPlan planned = plan_of_caller(plan, patience);
  return RowSession(state->state, std::move(planned), patience);
}

RowSession session_for(const ModelInMemory& model, const std::shared_ptr<const StateInMemory>& state,
                       const std::vector<std::string>& settings, const eelsvae_plan* plan,
                       const Caller& caller) {
  const DeviceScope device;
  for (const std::string& setting : settings) {
    const std::string key = setting.substr(0, setting.find('='));
    if (key != "device" && key != "precision" && key != "detection.batch_size")
      throw UserError(key +
                      ": belongs to the state; a scan by a model can set device, precision and "
                      "detection.batch_size");
  }
  Config config = model.info.config;
  apply_to_detection(settings, config, "configuration");
  std::string fallback;
  const BackendOffer offer = find_backend(config.device, config.precision, "auto", &fallback);
  caller.info(fallback);
  int64_t patience = 0;
  ScanPlan planned = plan_of_caller(plan, patience);
  std::optional<ThreadCount> threads;
  caller.take_threads(threads);
  std::unique_ptr<RowExpectation> rows =
      load_model_rows(model.file, config, *state->state, planned.height, planned.width, offer);
  return RowSession(state->state, std::move(planned), patience, std::move(rows));
}

RowSession session_learning(const std::string& baseline, int64_t rows, const Config& config,
                            const eelsvae_plan* plan) {
  check_no_files(config);
  int64_t patience = 0;
  ScanPlan planned = plan_of_caller(plan, patience);
  exclude_rectangles(planned, config.data.exclude);
  return RowSession(
      {rows, parse_baseline(baseline), config.preprocess, config.detection, config.data.energy_range},
      std::move(planned), patience);
}

Axis energy_of(const eelsvae_plan* plan) {
  int64_t ignored = 0;
  return plan_of_caller(plan, ignored).energy;
}

void check_options(const eelsvae_options& options) {
  if (options.on_training_image || options.keep_spectra)
    throw UserError("options: on_training_image and keep_spectra are for sessions; set both to 0");
}

}  // namespace

std::shared_ptr<const StateInMemory> open_state(const std::string& path) {
  return std::make_shared<const StateInMemory>(
      std::make_shared<const DetectionState>(load_detection_state(path)));
}

std::shared_ptr<const StateInMemory> state_from(const void* content, size_t size) {
  const auto* first = static_cast<const std::byte*>(content);
  const std::vector<std::byte> copy(first, first + size);  // aligned
  return std::make_shared<const StateInMemory>(std::make_shared<const DetectionState>(
      read_detection_state(SafetensorsFile(copy, "the state in memory"))));
}

std::shared_ptr<const StateInMemory> learn_state_of(const eelsvae_image* image, const std::string& baseline,
                                                    const Config& config) {
  check_no_files(config);
  return std::make_shared<const StateInMemory>(std::make_shared<const DetectionState>(
      learn_state(image_of_caller(image, config.data), parse_baseline(baseline), config.preprocess,
                  config.detection, config.data.energy_range)));
}

eelsvae_plan no_plan() {
  eelsvae_plan plan{};
  plan.struct_size = sizeof plan;
  plan.dispersion = 1;
  plan.patience = RowSession::default_patience;
  return plan;
}

ScanPlan plan_of_caller(const eelsvae_plan* given, int64_t& patience) {
  const eelsvae_plan plan = fields_of(given, sizeof(eelsvae_plan), no_plan(), "plan");
  if (!std::isfinite(plan.energy_offset) || !std::isfinite(plan.dispersion) || !(plan.dispersion > 0))
    throw UserError("plan: energy_offset and dispersion, in eV, must be finite, and dispersion above 0");
  patience = plan.patience;
  ScanPlan planned{
      plan.height, plan.width, {"Energy loss", "eV", plan.energy_offset, plan.dispersion, plan.channels}};
  check_plan(planned);
  if (plan.excluded) planned.excluded.assign(plan.excluded, plan.excluded + plan.height * plan.width);
  return planned;
}

ScanForCaller::ScanForCaller(std::shared_ptr<const StateInMemory> state, const eelsvae_plan* plan,
                             const eelsvae_options* options)
    : caller_(options),
      energy_(energy_of(plan)),
      session_(session_for(state, plan)),
      state_(std::move(state)) {
  check_options(caller_.options());
}

ScanForCaller::ScanForCaller(const ModelInMemory& model, std::shared_ptr<const StateInMemory> state,
                             const std::vector<std::string>& settings, const eelsvae_plan* plan,
                             const eelsvae_options* options)
    : caller_(options),
      energy_(energy_of(plan)),
      session_(session_for(model, state, settings, plan, caller_)),
      state_(std::move(state)) {
  check_options(caller_.options());
}

ScanForCaller::ScanForCaller(const std::string& baseline, int64_t rows, const Config& config,
                             const eelsvae_plan* plan, const eelsvae_options* options)
    : caller_(options), energy_(energy_of(plan)), session_(session_learning(baseline, rows, config, plan)) {
  check_options(caller_.options());
}

void ScanForCaller::tell(bool was_learning) {
  const std::shared_ptr<const DetectionState> state = session_.state();
  if (!was_learning || !state) return;
  caller_.info("learned from " + std::to_string(state->spectra) + " spectra: " + state->baseline->describe());
  for (const std::string& doubt : state->doubts) caller_.warn("Not to be trusted: " + doubt);
}

Rows ScanForCaller::push(int64_t first, int64_t count, const void* spectra, int32_t type, int64_t stride,
                         int64_t channel_stride) {
  session_.check(first, count);  // of a wrong count the caller's memory ends somewhere
  std::optional<ThreadCount> threads;
  caller_.take_threads(threads);
  CountArray counts;
  if (count > 0) {
    eelsvae_image image = no_image();
    image.data = spectra;
    image.type = type;
    image.shape[0] = 1;
    image.shape[1] = count;
    image.shape[2] = energy_.size;
    image.strides[1] = stride;
    image.strides[2] = channel_stride;
    if (stride != 0 || channel_stride != 0) image.strides[0] = stride;  // of one row, not looked at
    image_of_caller(&image, {}).read({{0, 1}, {0, count}, {0, energy_.size}}, counts);
  }
  return change([&] { return session_.push(first, count, counts); });
}

Rows ScanForCaller::score_provisionally() {
  return change([&] { return session_.score_provisionally(); });
}

Rows ScanForCaller::finish() {
  return change([&] { return session_.finish(); });
}

std::shared_ptr<const StateInMemory> ScanForCaller::state() const {
  const std::lock_guard lock(lock_);
  if (!state_) {
    std::shared_ptr<const DetectionState> learned = session_.state();
    if (!learned) throw UserError("the scan is still learning its state from its first rows");
    state_ = std::make_shared<const StateInMemory>(std::move(learned));
  }
  return state_;
}

std::shared_ptr<const FoundForCaller> ScanForCaller::found() const {
  const std::lock_guard lock(lock_);
  auto result = std::make_shared<FoundForCaller>();
  result->found = session_.result();
  const DetectionState& state = *session_.state();
  SpectrumImage& image = result->prepared.image;
  image.y = {"y", "", 0, 1, session_.height()};
  image.x = {"x", "", 0, 1, session_.width()};
  image.energy = state.fitted.energy;
  image.excluded.assign(session_.excluded().begin(), session_.excluded().end());
  for (const float score : result->found.scores) result->scored_pixels += std::isnan(score) ? 0 : 1;
  result->explanations.resize(result->found.regions.size());
  Config config;
  config.preprocess = state.preprocess;
  config.detection = state.detection;
  const Expectation none;
  DetectionReport report{image,  none, result->found,
                         config, "",   state.baseline ? state.baseline->describe() : "a model"};
  report.provenance = {{{"eelsvae", EELSVAE_VERSION}}, {}, {}};
  nlohmann::ordered_json summary = summary_json(report);
  const ScanCounts& counts = session_.counts();
  summary["scan"] = {{"finished", session_.finished()},
                     {"complete_rows", session_.complete_rows()},
                     {"final_rows", session_.final_rows()},
                     {"received", counts.received},
                     {"repeated", counts.repeated},
                     {"late", counts.late},
                     {"missing", counts.missing}};
  result->summary = summary.dump(2) + "\n";
  return result;
}

}  // namespace eelsvae
