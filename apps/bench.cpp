#include "apps/command_line.h"
#include "io/run/jobs.h"

using namespace eelsvae;

int main(int argc, char** argv) {
  BenchmarkRequest request;
  CommandLine app(
      "Measures how fast this machine trains and applies the network, and how near that comes to what its "
      "memory and processor allow.",
      "eelsvae-bench");
  app.footer(
      "Examples:\n"
      "  eelsvae-bench --device cuda --batch 1 8 64 --json bench.json\n"
      "  eelsvae-bench --device cpu --energy 256 --roofline\n"
      "Status 1: this device's results differ from the reference. docs/benchmarks.md explains every figure.");
  app.add_option("--device", request.device, "auto | cpu | cuda[:n] | reference");
  app.add_option("--precision", request.precision, "auto | fp32 | tf32 | bf16");
  app.add_option("--kernels", request.kernels,
                 "of a CPU: auto, or a set of instructions, as the output names it: avx2");
  app.add_option("--config", request.config, "configuration, JSON (default: the published network)");
  app.add_option("--energy", request.energy, "energy channels, a multiple of 16")
      .capture_default_str()
      .check_positive();
  app.add_option("--batch", request.batches, "tiles at a time, one or several (default: the configuration's)")
      .check_range(int64_t{1}, int64_t{1} << 20);
  app.add_flag("--training", request.training, "training only");
  app.add_flag("--inference", request.inference, "inference only");
  app.add_option("--seconds", request.seconds, "time for each figure")
      .capture_default_str()
      .check_range(1e-3, 3600.0);
  app.add_flag("--roofline", request.roofline,
               "times every operation too: a table with its work, time and share of the ceiling that binds");
  app.add_flag("--processor-time", request.processor_time,
               "time of the processor, not of the clock: for a CPU that other programs use too");
  app.add_option("--json", request.json, "write everything to this file, again after every figure");
  return app.run(argc, argv, [&] { return run_benchmark(request); });
}
