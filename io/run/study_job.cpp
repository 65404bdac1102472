#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "engine/study/study_plan.h"
#include "engine/study/study_runner.h"
#include "io/config/study_config.h"
#include "io/files/atomic_file.h"
#include "io/reports/study_json.h"
#include "io/reports/study_report.h"
#include "io/reports/study_tables.h"
#include "io/run/job_folder.h"
#include "io/run/jobs.h"
#include "io/run/scenes_job.h"
#include "io/terminal/program.h"
#include "io/terminal/progress.h"
#include "io/terminal/run_log.h"

namespace eelsvae {
namespace {

class StudyProgress final : public StudyObserver {
 public:
  StudyProgress(const StudyFolder& folder, int64_t steps, std::vector<StudyResult>& results,
                spdlog::logger& log)
      : folder_(folder), results_(results), log_(log), progress_("Study", steps, "steps") {}

  void on_epoch(const StudyUnit& unit, int64_t epoch, double loss) override {
    const StudyCell& first = unit.cells.front();
    const std::string variant = first.part == StudyCell::Part::sweep ? ", " + first.subject : "";
    progress_.update(++done_, fmt::format("{}, seed {}{}: epoch {}, loss {:.6g}", unit.preset, unit.seed,
                                          variant, epoch, loss));
  }
  void on_result(const StudyResult& result) override {
    append_metric(folder_.cells(), to_json(result));
    results_.push_back(result);
    const StudyCell& c = result.cell;
    log_.debug("{} {} seed {} {} {:.4g}: {} of {} pixels anomalous, {} latent units active",
               part_name(c.part), c.preset, c.seed, c.subject, c.amount, result.anomalous, result.pixels,
               result.active_latent_units);
    progress_.update(++done_, fmt::format("{}, seed {}: {}", c.preset, c.seed, c.subject));
  }
  void on_note(const std::string& note) override { log_.debug("{}", note); }
  StopToken stop() override { return interruption(); }
  void finish() { progress_.finish(); }

 private:
  const StudyFolder& folder_;
  std::vector<StudyResult>& results_;
  spdlog::logger& log_;
  Progress progress_;
  int64_t done_ = 0;
};

constexpr int64_t trial_epochs = 3, trial_images = 2;

// Seconds of an epoch and of an image's scoring, from the first model's first epochs and images.
class Trial final : public StudyObserver {
 public:
  void on_epoch(const StudyUnit&, int64_t, double) override {
    const double seconds = since_last();
    if (epochs_++ % trial_epochs > 0) epoch_ = std::max(epoch_, seconds);  // a training's first has all else
  }
  // What is made once for all images of a model falls to the first; the last one counts.
  void on_result(const StudyResult&) override { image_ = since_last(); }
  void on_note(const std::string&) override {}
  StopToken stop() override { return interruption(); }

  double seconds_of(const std::vector<StudyUnit>& units, bool train_on_scored) const {
    double seconds = 0;
    for (const StudyUnit& unit : units) {
      const auto scored = std::ranges::count(unit.cells, StudyCell::Part::defects, &StudyCell::part);
      const auto trainings = static_cast<double>(1 + (train_on_scored ? scored : 0));
      seconds += trainings * static_cast<double>(unit.config.training.epochs) * epoch_ +
                 static_cast<double>(unit.cells.size()) * image_;
    }
    return seconds;
  }

 private:
  double since_last() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double>(now - std::exchange(before_, now)).count();
  }
  std::chrono::steady_clock::time_point before_ = std::chrono::steady_clock::now();
  double epoch_ = 0, image_ = 0;
  int64_t epochs_ = 0;
};

// How long a study takes at most: trainings may end before their last epoch.
double estimate(const Study& study, const std::vector<StudyUnit>& plan) {
  StudyUnit first = plan.front();
  first.config.training.epochs = trial_epochs;
  first.cells.erase(first.cells.begin(), first.cells.end() - std::min(trial_images, std::ssize(first.cells)));
  Trial trial;
  if (!run_unit(first, study, find_backend(study.config.device, study.config.precision, "auto"), trial))
    throw Interrupted();
  return trial.seconds_of(plan, study.evaluation.train_on_scored);
}

}  // namespace

int run_study(const StudyRequest& request) {
  if (request.config.empty() == request.scenes.empty())
    throw UserError("give either a configuration or --scenes FOLDER");
  if (!request.scenes.empty()) return run_scenes(request);
  const Study study = read_study(request.config, request.settings);
  const StudyFolder folder{request.output};
  std::optional<JobFolder> output;
  if (!request.plan) output.emplace(folder.path, JobFolder::Kind::study);
  if (const std::string file = folder.existing(); !file.empty() && !request.resume && !request.plan)
    throw UserError("there is a study in " + request.output + " (" + file +
                    "); continue it with --resume or choose another --output");
  std::vector<StudyResult> finished;
  if (request.resume && std::filesystem::exists(folder.config())) {
    if (to_json_text(read_study(folder.config())) != to_json_text(study))
      throw UserError(request.config + ": is not the configuration of the study in " + request.output + " (" +
                      folder.config() + "); continue it with its own, or choose another --output");
    finished = read_cells(folder.cells());
  }

  const std::vector<StudyUnit> plan = plan_study(study);
  std::vector<StudyUnit> units = plan;  // with the cells that are left
  int64_t images = 0, steps = 0;        // epochs and cells count alike for the time that is left
  for (StudyUnit& unit : units) {
    images += std::ssize(unit.cells);
    std::erase_if(unit.cells, [&](const StudyCell& cell) {
      return std::ranges::find(finished, cell, &StudyResult::cell) != finished.end();
    });
    if (!unit.cells.empty()) steps += unit.config.training.epochs + std::ssize(unit.cells);
  }
  std::erase_if(units, [](const StudyUnit& unit) { return unit.cells.empty(); });
  if (request.plan) {
    const bool on_scored = study.evaluation.train_on_scored;
    size_t models = plan.size();
    for (const StudyUnit& unit : plan)
      if (on_scored)
        models +=
            static_cast<size_t>(std::ranges::count(unit.cells, StudyCell::Part::defects, &StudyCell::part));
    std::printf("%zu models to train, %lld images to score\n", models, static_cast<long long>(images));
    std::fflush(stdout);  // the rest takes a few epochs
    std::printf("%s at most on this machine, by three epochs and two images\n",
                format_duration(estimate(study, plan)).c_str());
    return 0;
  }
  std::string fallback;
  const BackendOffer offer = find_backend(study.config.device, study.config.precision, "auto", &fallback);
  const std::string device = offer.create(offer.variants.front())->processor();

  output->prepare(uint64_t{64} << 20);
  std::shared_ptr<spdlog::logger> log = make_run_log(folder.path, request.resume);
  output->warn(*log);
  if (!fallback.empty()) log->info("{}", fallback);
  log->info("{}", device);
  log->info("{} models to train, {} images to score{}", units.size(), images - std::ssize(finished),
            finished.empty() ? "" : fmt::format("; {} are done", finished.size()));
  write_file(folder.config(), to_json_text(study));
  std::vector<nlohmann::json> lines;
  for (const StudyResult& result : finished) lines.push_back(to_json(result));
  write_metrics(folder.cells(), lines);

  const auto began = std::chrono::steady_clock::now();
  StudyProgress observer(folder, steps, finished, *log);
  for (const StudyUnit& unit : units) {
    if (interruption().requested() || !run_unit(unit, study, offer, observer)) {
      observer.finish();
      log->info("Interrupted with {} of {} images scored; continue with --resume", finished.size(), images);
      return interrupted_status;
    }
  }
  observer.finish();

  StudyReport report{study, {}, EELSVAE_VERSION, device};
  for (const StudyUnit& unit : plan)  // in its order, however the study was interrupted
    for (const StudyCell& cell : unit.cells)
      report.results.push_back(*std::ranges::find(finished, cell, &StudyResult::cell));
  write_file(folder.results(), study_json_text(report));
  write_file(folder.tables(), study_markdown(report));
  write_file(folder.report(), study_html(report));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  log->info("Study of {} images in {}", report.results.size(), format_duration(seconds));
  log->info("Tables: {}, report: {}", folder.tables(), folder.report());
  return 0;
}

}  // namespace eelsvae
