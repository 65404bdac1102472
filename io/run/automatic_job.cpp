#include <chrono>
#include <filesystem>

#include "io/config/config.h"
#include "io/files/atomic_file.h"
#include "io/files/npy.h"
#include "io/formats/image_data.h"
#include "io/model/checkpoint.h"
#include "io/run/automatic_job.h"
#include "io/run/training_run.h"
#include "io/terminal/program.h"
#include "io/terminal/run_log.h"

namespace eelsvae {

ScanChoice choose_for_scan(const std::string& data, const std::vector<std::string>& settings) {
  Config given;  // what the settings say of reading
  for (const std::string& setting : settings) set_value(given, setting);
  given.data.data_path = data;
  return choose_for_image(open_image_data(data, given, interruption()), settings);
}

void apply_settings(Config& config, const std::string& data, const std::vector<std::string>& settings) {
  config.data.data_path = data;
  for (const std::string& setting : settings) set_value(config, setting);
  check_config(config, "--set");
}

namespace {

// A detection needs it only when a model was trained, which is late for a refusal.
void check_truth(const DetectionRequest& request, const Config& config) {
  if (request.truth.empty()) return;
  const SpectrumImage axes = open_image_data(request.data, config, interruption()).image;
  read_npy_truth(request.truth, axes.y.size, axes.x.size);
}

}  // namespace

int run_automatic(const DetectionRequest& request, JobFolder& folder) {
  namespace fs = std::filesystem;
  const auto began = std::chrono::steady_clock::now();
  const double all_minutes = request.minutes.value_or(5);
  check_minutes(all_minutes);
  if (request.data.empty())
    throw UserError("no data: give a spectrum image, or --model RUN to look at the image it was trained on");
  if (!request.fit.empty() || !request.config.empty())
    throw UserError("--fit and --config belong to --baseline NAME, which says what is expected");
  const fs::path output = request.output;
  const RunFolder run{output / "model"};
  const std::string config_file = output / "config.json";
  // What was interrupted goes on by the same command; what is finished is not overwritten.
  const bool goes_on = fs::exists(config_file) && !fs::exists(output / "summary.json") &&
                       !run.existing().empty() && read_config(config_file, {}).data.data_path == request.data;
  if (const std::string file = run.existing(); !file.empty() && !goes_on)
    throw UserError("there is a model in " + run.path.string() + " (" + file +
                    "); choose another --output, or use it with --model " + run.path.string());

  auto [choice, energy, pixels] = choose_for_scan(request.data, request.settings);
  if (goes_on) choice.config = read_config(config_file, {});
  apply_settings(choice.config, request.data, request.settings);

  if (goes_on && fs::exists(run.config()))
    check_same_run(read_config(run.config(), {}), choice.config, run.config());
  check_truth(request, choice.config);
  std::shared_ptr<spdlog::logger> log;
  const auto begin = [&] {
    write_file(config_file, to_json_text(choice.config));
    log = make_run_log(output, true);
    folder.warn(*log);
    if (!goes_on)  // otherwise they stand in the log already
      for (const std::string& reason : choice.reasons) log->info("Chosen: {}", reason);
    log->info("Configuration: {}", config_file);
  };

  std::optional<Comparison> comparison;
  if (choice.no_model.empty()) {
    const std::chrono::duration<double> reading = std::chrono::steady_clock::now() - began;
    const double minutes = std::max(share_of_training * all_minutes - reading.count() / 60, 0.0);
    TrainingRequest training;
    training.output = run.path;
    training.minutes = minutes;
    training.resume = goes_on;
    training.go_on = "eelsvae-train " + run.config() + " --output " + run.path.string() +
                     " --resume, or, where it was interrupted, the same command,";
    const Chosen chosen{choice.config, &folder, [&] {
                          begin();
                          log->info("Training a model for {:.2g} minutes at most (--minutes {:.3g})", minutes,
                                    all_minutes);
                        }};
    if (const int status = train_into(training, &chosen); status != 0) {
      log->info("The same command goes on with it");
      return status;
    }
    if (fs::exists(run.best())) comparison = read_checkpoint_info(SafetensorsFile(run.best())).comparison;
  }
  const Winner winner = best_of(comparison, pixels, choice.config.detection);

  DetectionRequest detection = request;
  detection.choices = choice.reasons;
  if (comparison) detection.choices.push_back(describe(*comparison));
  detection.choices.push_back(winner.reason);
  detection.minutes.reset();
  if (winner.model) {
    // Its checkpoint holds what the settings said, but not for good which pixels were excluded.
    detection.model = run.path;
    std::erase_if(detection.settings, [](const std::string& s) { return !s.starts_with("data.exclude"); });
    detection.data = "";
  } else {
    detection.baseline = winner.baseline;
  }
  const auto say_winner = [&] {
    if (comparison) log->info("{}", describe(*comparison));
    log->info("{}", winner.reason);
  };
  if (log) say_winner();  // the training began
  const Chosen chosen{choice.config, nullptr, log ? std::function<void()>() : [&] {
                        begin();
                        say_winner();
                      }};
  return detect_into(folder, detection, &chosen);
}

}  // namespace eelsvae
