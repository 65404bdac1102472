#include "io/run/training_run.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/short_number.h"
#include "io/config/config.h"
#include "io/files/atomic_file.h"
#include "io/terminal/program.h"
#include "io/terminal/run_log.h"

namespace eelsvae {
namespace {

// Losses per spectrum.
std::string describe(const EpochRecord& r, int64_t spectra) {
  const auto n = static_cast<double>(spectra);
  std::string text = "loss " + short_number(r.training.loss / n);
  if (r.validation) text += ", validation " + short_number(r.validation->loss / n);
  if (r.deviance) text += ", predictive deviance " + short_number(*r.deviance, 5);
  return text;
}

// As TensorBoard groups them: by what stands before the slash.
std::vector<std::pair<std::string, double>> curves_of(const EpochRecord& r) {
  std::vector<std::pair<std::string, double>> curves;
  const auto add = [&](const std::string& name, const nlohmann::json& value) {
    if (value.is_number()) curves.emplace_back(name, value.get<double>());
  };
  const nlohmann::json metrics = metrics_of(r);
  for (const auto& [key, value] : metrics.items()) {
    add(key, value);
    if (value.is_object())
      for (const auto& [name, part] : value.items()) add(name + "/" + key, part);
  }
  return curves;
}

}  // namespace

std::string RunFolder::existing() const {
  for (const std::string& file : {last(), best(), metrics(), config(), log()})
    if (std::filesystem::exists(file)) return file;
  return "";
}

void RunFolder::remove_leftovers() const {
  std::error_code ignored;  // a leftover that stays does no harm
  for (const auto& entry : std::filesystem::directory_iterator(path, ignored)) {
    const std::string file = entry.path().string();
    if (!file.ends_with(".tmp")) continue;
    for (const std::string& target : {last(), best(), metrics(), config(), report()})
      if (file.starts_with(target + ".")) std::filesystem::remove(entry.path(), ignored);
  }
}

std::string model_file(const std::string& run_or_file) {
  namespace fs = std::filesystem;
  if (!fs::exists(run_or_file)) throw UserError(run_or_file + ": no such run folder or model file");
  if (!fs::is_directory(run_or_file)) return run_or_file;
  std::string best = RunFolder{run_or_file}.best();
  if (fs::exists(best)) return best;
  const RunFolder inside{fs::path(run_or_file) / "model"};  // where eelsvae-detect trains one
  if (fs::exists(inside.best()))
    throw UserError(run_or_file + ": holds no model.safetensors; give " + inside.path.string() +
                    ", which does");
  if (RunFolder{run_or_file}.existing().empty())
    throw UserError(run_or_file +
                    ": is no run folder; give the --output of eelsvae-train, or a model.safetensors");
  throw UserError(run_or_file +
                  ": holds no model.safetensors, for no epoch was finished; continue the training with " +
                  "eelsvae-train --resume");
}

void check_minutes(double minutes) {
  if (!(minutes >= 0 && minutes <= 1e5))
    throw UserError("--minutes: must be from 0 to 100000, got " + short_number(minutes));
}

void check_same_run(const Config& before, const Config& now, const std::string& checkpoint) {
  auto comparable = [](Config config) {
    config.data.data_path.clear();
    if (config.preprocess.align_path) config.preprocess.align_path = "elsewhere";
    config.device = config.precision = "auto";
    config.training.epochs = 1;
    config.training.patience = 0;
    config.detection = {};
    if (config.model.latent == LatentOf::tile) config.model.blind = 0;  // nothing is hidden
    return nlohmann::json::parse(to_json_text(config));
  };
  const nlohmann::json then = comparable(before), given = comparable(now);
  for (const auto& [group, keys] : then.items()) {
    if (!keys.is_object()) continue;
    for (const auto& [key, value] : keys.items())
      if (given[group][key] != value)
        throw UserError(group + "." + key + ": the run in " + checkpoint + " has " + value.dump() + ", not " +
                        given[group][key].dump() +
                        "; continue it with its own configuration, or choose another --output");
  }
}

TrainingRun::TrainingRun(RunFolder folder, Model& model, CheckpointInfo info, const TrainingState& state,
                         const Trainer& trainer, const SpectrumImage& prepared,
                         std::optional<Comparison> comparison, std::optional<double> minutes,
                         spdlog::logger& log)
    : folder_(std::move(folder)),
      events_(folder_.path),
      model_(model),
      info_(std::move(info)),
      log_(log),
      progress_("Training", info_.config.training.epochs * trainer.batches_per_epoch(), "steps",
                static_cast<int64_t>(state.step)),
      saved_step_(state.step),
      saved_at_(std::chrono::steady_clock::now()),
      prepared_(prepared),
      sample_(trainer.sample_tile()),
      sample_is_validation_(trainer.validation_tiles() > 0),
      comparison_(std::move(comparison)),
      limit_(minutes),
      reported_at_(std::chrono::steady_clock::now()) {
  std::vector<nlohmann::json> lines;
  for (const EpochRecord& record : state.history) lines.push_back(metrics_of(record));
  write_metrics(folder_.metrics(), lines);
}

void TrainingRun::on_step(const TrainingState& state, int64_t, double loss) {
  if (status_.empty()) status_ = "loss " + short_number(loss / static_cast<double>(spectra_per_tile()));
  progress_.update(static_cast<int64_t>(state.step),
                   "epoch " + std::to_string(state.history.size() + 1) + ", " + status_);
  // Whoever waits for a first long epoch to end can look at a report already.
  if (!reported_ && report_is_due()) write_report(state, TrainingReport::Progress::running);
}

void TrainingRun::on_epoch(const TrainingState& state, bool improved) {
  const EpochRecord& record = state.history.back();
  limit_.on_epoch(record.seconds);
  status_ = describe(record, spectra_per_tile());
  append_metric(folder_.metrics(), metrics_of(record));
  events_.add(record.epoch, curves_of(record));
  log_.debug(
      "epoch {}: {}, kl {:.4g}, gradient norm {:.4g}, learning rate {:.3g}, active latent units {}, {:.2f} "
      "s{}",
      record.epoch, status_, record.training.kl, record.gradient_norm, record.learning_rate,
      record.active_latent_units, record.seconds, improved ? ", best so far" : "");
  if (improved) {
    CheckpointInfo info = info_;
    info.history = state.history;
    info.comparison = comparison_;
    if (info.comparison) info.comparison->model = record.deviance;
    write_checkpoint(folder_.best(), model_, info);
  }
  if (std::chrono::steady_clock::now() - saved_at_ >= 20 * save_duration_) save_last(state);
  if (report_is_due() && state.epoch < info_.config.training.epochs) {
    const auto began = std::chrono::steady_clock::now();
    reconstruct_sample(state);
    write_report(state, TrainingReport::Progress::running);
    report_duration_ = std::chrono::steady_clock::now() - began;
  }
}

bool TrainingRun::stop_requested() {
  return interruption().requested() || limit_.ask();
}

void TrainingRun::save_last(const TrainingState& state) {
  const auto began = std::chrono::steady_clock::now();
  CheckpointInfo info = info_;
  info.training = state;
  info.history = state.history;
  write_checkpoint(folder_.last(), model_, info);
  saved_at_ = std::chrono::steady_clock::now();
  save_duration_ = saved_at_ - began;
  saved_step_ = state.step;
}

bool TrainingRun::report_is_due() const {
  return std::chrono::steady_clock::now() - reported_at_ >=
         std::max(std::chrono::duration<double>(5), 50 * report_duration_);
}

void TrainingRun::reconstruct_sample(const TrainingState& state) {
  const int64_t size = model_.shape().image_size, count = model_.shape().tile_count();
  std::vector<float> observed(static_cast<size_t>(count));
  copy_tile(prepared_, sample_, size, 0, observed.data());
  ReconstructedTile tile = {sample_, size, sample_is_validation_, state.epoch, std::move(observed), {}};
  tile.reconstruction = reconstruct_tiles(model_, tile.observed);
  tile_ = std::move(tile);
}

void TrainingRun::write_report(const TrainingState& state, TrainingReport::Progress progress) {
  using std::chrono::system_clock;
  const double epoch_seconds = state.history.empty() ? 0 : state.history.back().seconds;
  TrainingReport report{prepared_, info_.config, progress, state.history, tile_ ? &*tile_ : nullptr};
  report.comparison = comparison_;
  report.written =
      std::chrono::duration_cast<std::chrono::seconds>(system_clock::now().time_since_epoch()).count();
  report.next_seconds = std::max({5.0, 50 * report_duration_.count(), epoch_seconds});
  report.provenance = info_.provenance;
  write_file(folder_.report(), render_training_report(report));
  reported_ = true;
  reported_at_ = std::chrono::steady_clock::now();
}

void TrainingRun::finish(const TrainingState& state, bool complete) {
  if (saved_step_ != state.step || !std::filesystem::exists(folder_.last())) save_last(state);
  reconstruct_sample(state);
  write_report(state, complete ? TrainingReport::Progress::finished : TrainingReport::Progress::stopped);
  progress_.finish();
}

}  // namespace eelsvae
