#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/command_line.h"
#include "engine/bench/benchmark.h"
#include "engine/network/kernel_choice.h"
#include "io/config/config.h"
#include "io/files/atomic_file.h"
#include "io/reports/benchmark_report.h"
#include "io/terminal/program.h"
#include "io/terminal/progress.h"

using namespace eelsvae;

namespace {

struct Options {
  std::string device, precision, kernels = "auto", config, json;
  int64_t energy = ModelShape().energy;
  std::vector<int64_t> batches;
  bool training = false, inference = false, roofline = false, processor_time = false;
  double seconds = 1;
};

std::string date_and_time() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

int bench(const Options& options) {
  Config config;
  if (!options.config.empty()) config = read_config(options.config);
  if (!options.device.empty()) config.device = options.device;
  if (!options.precision.empty()) config.precision = options.precision;
  BenchmarkSettings settings;
  settings.shape = model_shape(config.tiles, config.model, options.energy);
  settings.loss = config.loss.reconstruction;
  settings.batches =
      options.batches.empty() ? std::vector<int64_t>{config.training.batch_size} : options.batches;
  settings.training = options.training || !options.inference;
  settings.inference = options.inference || !options.training;
  settings.operations = options.roofline;
  settings.seconds = options.seconds;
  settings.processor_time = options.processor_time;

  // A wrong name shall not cost the time of a benchmark.
  if (!options.json.empty()) AtomicFile can_be_written(options.json);
  std::string fallback;
  const BackendOffer offer = find_backend(config.device, config.precision, options.kernels, &fallback);
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
    if (options.json.empty()) return;
    nlohmann::json json = to_json(result);
    json["version"] = EELSVAE_VERSION;
    json["date"] = date;
    write_file(options.json, json.dump(2) + "\n");
  };
  const BenchmarkResult result = run_benchmark(*backend, settings, observer, receiver);
  clear_progress_line();
  for (const std::string& note : backend->notes()) std::fprintf(stderr, "eelsvae-bench: %s\n", note.c_str());
  if (!result.verified()) {
    std::fprintf(stderr, "eelsvae-bench: %s differs from the reference backend: %s\n",
                 result.description.c_str(), checks_text(result, true).c_str());
    return 1;
  }
  std::printf("%s", benchmark_tables(result, options.roofline).c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CommandLine app(
      "Measures how fast this machine trains and applies the network, and how near that comes to what its "
      "memory and processor allow.",
      "eelsvae-bench");
  app.footer(
      "Examples:\n"
      "  eelsvae-bench --device cuda --batch 1 8 64 --json bench.json\n"
      "  eelsvae-bench --device cpu --energy 256 --roofline\n"
      "Status 1: this device's results differ from the reference. docs/benchmarks.md explains every figure.");
  app.add_option("--device", options.device, "auto | cpu | cuda[:n] | reference");
  app.add_option("--precision", options.precision, "auto | fp32 | tf32 | bf16");
  app.add_option("--kernels", options.kernels, "of a CPU: auto | avx2 | avx512 | avx512_bf16 | amx");
  app.add_option("--config", options.config, "configuration, JSON (default: the published network)");
  app.add_option("--energy", options.energy, "energy channels, a multiple of 16")
      .capture_default_str()
      .check_positive();
  app.add_option("--batch", options.batches, "tiles at a time, one or several (default: the configuration's)")
      .check_range(int64_t{1}, int64_t{1} << 20);
  app.add_flag("--training", options.training, "training only");
  app.add_flag("--inference", options.inference, "inference only");
  app.add_option("--seconds", options.seconds, "time for each figure")
      .capture_default_str()
      .check_range(1e-3, 3600.0);
  app.add_flag("--roofline", options.roofline,
               "times every operation too: a table with its work, time and share of the ceiling that binds");
  app.add_flag("--processor-time", options.processor_time,
               "time of the processor, not of the clock: for a CPU that other programs use too");
  app.add_option("--json", options.json, "write everything to this file, again after every figure");
  return app.run(argc, argv, [&] { return bench(options); });
}
