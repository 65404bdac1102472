#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/bench/benchmark.h"
#include "engine/network/kernel_choice.h"
#include "io/config/config.h"
#include "io/files/atomic_file.h"
#include "io/reports/benchmark_report.h"
#include "io/run/jobs.h"
#include "io/terminal/program.h"
#include "io/terminal/progress.h"

namespace eelsvae {
namespace {

std::string date_and_time() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

}  // namespace

int run_benchmark(const BenchmarkRequest& request) {
  Config config;
  if (!request.config.empty()) config = read_config(request.config);
  if (!request.device.empty()) config.device = request.device;
  if (!request.precision.empty()) config.precision = request.precision;
  BenchmarkSettings settings;
  settings.shape = model_shape(config.tiles, config.model, request.energy);
  settings.loss = config.loss.reconstruction;
  settings.batches =
      request.batches.empty() ? std::vector<int64_t>{config.training.batch_size} : request.batches;
  settings.training = request.training || !request.inference;
  settings.inference = request.inference || !request.training;
  settings.operations = request.roofline;
  settings.seconds = request.seconds;
  settings.processor_time = request.processor_time;

  // A wrong name shall not cost the time of a benchmark.
  if (!request.json.empty()) AtomicFile can_be_written(request.json);
  std::string fallback;
  const BackendOffer offer = find_backend(config.device, config.precision, request.kernels, &fallback);
  if (!fallback.empty()) std::fprintf(stderr, "eelsvae-bench: %s\n", fallback.c_str());
  const KernelChoice choice = choose_kernels(offer, settings.shape, settings.loss, settings.batches.front(),
                                             settings.training ? Purpose::training : Purpose::inference);
  if (const std::string text = describe(choice); !text.empty()) std::printf("%s\n", text.c_str());
  std::fflush(stdout);  // whoever reads along has waited for it
  const std::unique_ptr<Backend> backend = offer.create(choice.variant);
  std::optional<Progress> progress;
  const BenchmarkObserver observer = [&](int64_t stage, int64_t stages, const std::string& what) {
    if (!progress) progress.emplace("Measuring", stages, "stages");
    progress->update(stage, what);
    interruption().stop_if_requested();
  };
  // What a run leaves that is killed.
  const BenchmarkReceiver receiver = [&, date = date_and_time()](const BenchmarkResult& result) {
    if (request.json.empty()) return;
    nlohmann::json json = to_json(result);
    json["version"] = EELSVAE_VERSION;
    json["date"] = date;
    write_file(request.json, json.dump(2) + "\n");
  };
  const BenchmarkResult result = run_benchmark(*backend, settings, observer, receiver);
  clear_progress_line();
  for (const std::string& note : backend->notes()) std::fprintf(stderr, "eelsvae-bench: %s\n", note.c_str());
  if (!result.verified()) {
    std::fprintf(stderr, "eelsvae-bench: %s differs from the reference backend: %s\n",
                 result.description.c_str(), checks_text(result, true).c_str());
    return 1;
  }
  std::printf("%s", benchmark_tables(result, request.roofline).c_str());
  return 0;
}

}  // namespace eelsvae
