#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "engine/bench/benchmark.h"

namespace eelsvae {

// Everything that was measured so far. At top level: complete, device, precision, batch and the medians
// training_step_seconds and inference_seconds, both of the first batch size; null what was not measured.
// docs/benchmarks.md names the keys.
nlohmann::json to_json(const BenchmarkResult& result);

// The same as tables for people; `roofline`: with a line per operation.
std::string benchmark_tables(const BenchmarkResult& result, bool roofline);

// "gradient norm 1.2e-03, tolerance 2.0e-02" for every check that failed, or for all of them.
std::string checks_text(const BenchmarkResult& result, bool only_failed);

}  // namespace eelsvae
