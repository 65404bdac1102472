#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/network/model.h"

namespace eelsvae {

struct BenchmarkSettings {
  ModelShape shape;
  ReconstructionLoss loss = ReconstructionLoss::cross_entropy;
  std::vector<int64_t> batches = {1};
  bool training = true, inference = true;
  bool operations = true;  // each operation of a step is timed by itself too
  double seconds = 1;      // for each figure, as long as that allows a few repetitions
  // Time is that of the processor for the busiest thread (processor_time.h), not the clock's.
  bool processor_time = false;
};

// Seconds of one repetition.
struct Timing {
  double median = 0, quartile1 = 0, quartile3 = 0, minimum = 0, maximum = 0;
  int64_t repetitions = 0;
};
Timing summarize(std::vector<double> seconds);
// The smallest sample that at least `fraction` of all samples do not exceed.
double percentile(std::vector<double> samples, double fraction);

// One comparison with the reference backend, relative: passed where error <= tolerance, which NaN is not.
struct Check {
  std::string what;
  double error, tolerance;
  bool passed() const { return error <= tolerance; }
};

// A small network on this backend and on the reference: outputs, losses, and one training step's gradients,
// moments and weights.
std::vector<Check> verify(Backend& backend, ReconstructionLoss loss);

// The fastest that this device moves memory and computes. Measured by the backend's own loops and by a copy
// (bytes read + written), a product of square matrices and a convolution, on random numbers; the fastest of a
// kind counts. 0: not measured, for want of memory.
// A processor may hold units back that take much power for most of the time (AMX's tiles, for instance): then
// the median of a loop's repetitions tells what it sustains.
struct Ceilings {
  struct Loop {
    CeilingLoop::Traffic traffic;  // none: per_second is of flops, else of bytes
    std::string name;
    double per_second, median_per_second;
  };
  std::vector<Loop> loops;
  double copy_bytes_per_second = 0, product_flops_per_second = 0, convolution_flops_per_second = 0;
  size_t copied_bytes = 0;            // of one of the two arrays
  int64_t matrix = 0, convolved = 0;  // rows of the matrices; positions of the convolution's output

  double flops_per_second() const;
  // Of operations that write, and of those that only read or nearly so.
  double bytes_per_second() const;
  double read_bytes_per_second() const;

  enum class Kind { arithmetic, memory, reading };
  struct Bound {
    Kind kind;       // what takes longest
    double seconds;  // the least that so much work takes
  };
  Bound bound(double flops, double read, double written) const;
};

struct PartTime {
  std::string layer, operation;
  Model::Phase phase;
  double flops, read, written;  // bytes
  Timing timing;
};

// Percentiles of the time, in seconds, from a filled host slot to the scores of its spectra on the host.
struct Latency {
  double p50 = 0, p90 = 0, p99 = 0, maximum = 0;
  int64_t tiles = 0;
};

// One batch size of training or inference.
struct Measurement {
  Purpose purpose = Purpose::training;
  int64_t batch = 1;
  std::string left_out;  // why there is nothing else

  uint64_t memory = 0;  // bytes of the plan
  // From filled host slots to losses (training) or reconstructions (inference) on the host; gathering the
  // tiles is not in it. `overlapped`: the same with the next batch on its way meanwhile.
  // What has no repetitions is not measured, or not yet.
  Timing step, overlapped;
  Timing forward, backward, update;  // training: of which the step consists
  std::optional<Latency> latency;    // inference of batch 1
  std::vector<PartTime> parts;       // without times where operations are not timed
  double flops = 0, bytes = 0;       // of all parts
  // What a step reads and writes of weights, shadow and moments, per parameter, and what that takes at the
  // copy ceiling; what its products and convolutions take at the other ceiling; and the sum over all parts
  // of the longer of the two.
  double bytes_per_parameter = 0, memory_floor = 0, arithmetic_floor = 0, parts_floor = 0;
};

struct BenchmarkResult {
  std::string device, precision, description;
  ModelShape shape;
  std::vector<Check> checks;
  Ceilings ceilings;
  std::vector<Measurement> measurements;
  bool complete = false;  // false as long as more is to be measured
  bool verified() const;
};

// Called before every repetition with the stage under way, counted from 0; may throw to end the benchmark.
using BenchmarkObserver = std::function<void(int64_t stage, int64_t stages, const std::string& what)>;

// Called whenever there is more: after verification, after the ceilings, and several times in a measurement,
// first when its step is timed. May throw to end the benchmark.
using BenchmarkReceiver = std::function<void(const BenchmarkResult&)>;

// Verifies, and where that passes measures ceilings, then training and inference of every batch size. One
// that does not fit the device's memory is left out with the reason.
BenchmarkResult run_benchmark(Backend& backend, const BenchmarkSettings& settings,
                              const BenchmarkObserver& observer, const BenchmarkReceiver& receiver);

}  // namespace eelsvae
