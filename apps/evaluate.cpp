#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "apps/command_line.h"
#include "engine/stop_token.h"
#include "engine/study/study_plan.h"
#include "engine/study/study_runner.h"
#include "io/config/study_config.h"
#include "io/files/atomic_file.h"
#include "io/files/output_folder.h"
#include "io/reports/study_json.h"
#include "io/reports/study_report.h"
#include "io/reports/study_tables.h"
#include "io/terminal/program.h"
#include "io/terminal/progress.h"
#include "io/terminal/run_log.h"

using namespace eelsvae;

namespace {

struct Options {
  std::string config, output;
  std::vector<std::string> settings;
  bool resume = false, plan = false;
};

// Epochs and cells count alike for the time that is left.
int64_t steps_of(const StudyUnit& unit) {
  return unit.config.training.epochs + std::ssize(unit.cells);
}

std::string name_of_unit(const StudyUnit& unit) {
  return unit.preset + ", seed " + std::to_string(unit.seed) +
         (unit.cells.front().part == StudyCell::Part::sweep ? ", " + unit.cells.front().subject : "");
}

class Observer final : public StudyObserver {
 public:
  Observer(const StudyFolder& folder, int64_t steps, std::vector<StudyResult>& results, spdlog::logger& log)
      : folder_(folder), results_(results), log_(log), progress_("Study", steps, "steps") {}

  void on_epoch(const StudyUnit& unit, int64_t epoch, double loss) override {
    progress_.update(++done_, fmt::format("{}: epoch {}, loss {:.6g}", name_of_unit(unit), epoch, loss));
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

int evaluate(const Options& options) {
  const Study study = read_study(options.config, options.settings);
  const StudyFolder folder{options.output};
  if (const std::string file = folder.existing(); !file.empty() && !options.resume && !options.plan)
    throw UserError("there is a study in " + options.output + " (" + file +
                    "); continue it with --resume or choose another --output");
  std::vector<StudyResult> finished;
  if (options.resume && std::filesystem::exists(folder.config())) {
    if (to_json_text(read_study(folder.config())) != to_json_text(study))
      throw UserError(options.config + ": is not the configuration of the study in " + options.output + " (" +
                      folder.config() + "); continue it with its own, or choose another --output");
    finished = read_cells(folder.cells());
  }

  const std::vector<StudyUnit> plan = plan_study(study);
  std::vector<StudyCell> order;
  std::vector<StudyUnit> units;  // with the cells that are left
  int64_t steps = 0;
  for (StudyUnit unit : plan) {
    order.insert(order.end(), unit.cells.begin(), unit.cells.end());
    std::erase_if(unit.cells, [&](const StudyCell& cell) {
      return std::any_of(finished.begin(), finished.end(),
                         [&](const StudyResult& r) { return r.cell == cell; });
    });
    if (unit.cells.empty()) continue;
    steps += steps_of(unit);
    units.push_back(std::move(unit));
  }
  if (options.plan) {
    std::printf("%zu models to train, %zu images to score\n", plan.size(), order.size());
    return 0;
  }
  std::string fallback;
  const BackendOffer offer = find_backend(study.config.device, study.config.precision, "auto", &fallback);
  const std::string device = offer.create(offer.variants.front())->processor();

  prepare_output_folder(folder.path, uint64_t{64} << 20);
  std::shared_ptr<spdlog::logger> log = make_run_log(folder.path, options.resume);
  if (!fallback.empty()) log->info("{}", fallback);
  log->info("{}", device);
  log->info("{} models to train, {} images to score{}", units.size(), order.size() - finished.size(),
            finished.empty() ? "" : fmt::format("; {} are done", finished.size()));
  write_file(folder.config(), to_json_text(study));
  std::vector<nlohmann::json> lines;
  for (const StudyResult& result : finished) lines.push_back(to_json(result));
  write_metrics(folder.cells(), lines);

  const auto began = std::chrono::steady_clock::now();
  Observer observer(folder, steps, finished, *log);
  for (const StudyUnit& unit : units) {
    if (interruption().requested() || !run_unit(unit, study, offer, observer)) {
      observer.finish();
      log->info("Interrupted with {} of {} images scored; continue with --resume", finished.size(),
                order.size());
      return interrupted_status;
    }
  }
  observer.finish();

  // In the order of the plan, however the study was interrupted.
  StudyReport report{study, {}, EELSVAE_VERSION, device};
  for (const StudyCell& cell : order)
    report.results.push_back(*std::find_if(finished.begin(), finished.end(),
                                           [&](const StudyResult& r) { return r.cell == cell; }));
  write_file(folder.results(), study_json_text(report));
  write_file(folder.tables(), study_markdown(report));
  write_file(folder.report(), study_html(report));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  log->info("Study of {} images in {}", report.results.size(), format_duration(seconds));
  log->info("Tables: {}, report: {}", folder.tables(), folder.report());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CommandLine app("Measures how well anomalies are found: as published, and on specimens with known truth.",
                  "eelsvae-evaluate");
  app.footer(
      "Example:\n"
      "  eelsvae-evaluate configs/evaluate-quick.json --output study\n"
      "simulates, trains and scores; writes results.json, tables.md and report.html to the folder study.\n"
      "Ctrl-C stops with status 130; --resume goes on with the image that was not finished (its model is "
      "trained\n"
      "again). docs/evaluation.md says what is measured and lists the keys of the configuration.");
  app.add_option("CONFIG", options.config, "configuration, JSON").required();
  app.add_option("--output", options.output, "folder for the results").required();
  app.add_option("--set", options.settings, "override a key: --set evaluation.seeds=1,2 (repeatable)")
      .type_name("KEY=VALUE")
      .one_value_each_time();
  app.add_flag("--resume", options.resume, "continue the study in the output folder");
  app.add_flag("--plan", options.plan, "check the configuration, say how much there is to do, and stop");
  return app.run(argc, argv, [&] { return evaluate(options); });
}
