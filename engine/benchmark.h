#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/model.h"

namespace eelsvae {

struct BenchmarkSettings {
  ModelShape shape;
  ReconstructionLoss loss = ReconstructionLoss::cross_entropy;
  std::vector<int64_t> batches = {1};
  bool training = true, inference = true;
  double seconds = 1;  // for each figure, as long as that allows a few repetitions
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

// The fastest that this backend copies (bytes read + written), multiplies square matrices and convolves, on
// random numbers. Arithmetic's ceiling is the faster of the last two: a backend's matrix products may be made
// for few rows. 0: not measured, for want of memory.
struct Ceilings {
  double bytes_per_second = 0, product_flops_per_second = 0, convolution_flops_per_second = 0;
  size_t copied_bytes = 0;            // of one of the two arrays
  int64_t matrix = 0, convolved = 0;  // rows of the matrices; positions of the convolution's output

  double flops_per_second() const { return std::max(product_flops_per_second, convolution_flops_per_second); }
  // The time that so much takes at least.
  double seconds(double flops, double bytes) const {
    return std::max(flops / flops_per_second(), bytes / bytes_per_second);
  }
};

struct PartTime {
  std::string layer, operation;
  Model::Phase phase;
  double flops, bytes;
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
  Timing step, overlapped;
  Timing forward, backward, update;  // training: of which the step consists
  std::optional<Latency> latency;    // inference of batch 1
  std::vector<PartTime> parts;
  double flops = 0, bytes = 0;  // of all parts
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
  bool verified() const;
};

// Called before every repetition with the stage under way, counted from 0; may throw to end the benchmark.
using BenchmarkObserver = std::function<void(int64_t stage, int64_t stages, const std::string& what)>;

// Verifies, and where that passes measures ceilings, then training and inference of every batch size. One
// that does not fit the device's memory is left out with the reason.
BenchmarkResult run_benchmark(Backend& backend, const BenchmarkSettings& settings,
                              const BenchmarkObserver& observer);

}  // namespace eelsvae
