#include "io/reports/benchmark_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "io/files/output_folder.h"

namespace eelsvae {
namespace {

using nlohmann::json;

template <typename... Arguments>
std::string line(const char* format, Arguments... arguments) {
  char text[256];
  std::snprintf(text, sizeof text, format, arguments...);
  return text;
}

const char* name_of(Purpose purpose) {
  return purpose == Purpose::training ? "training" : "inference";
}

const char* name_of(Model::Phase phase) {
  switch (phase) {
    case Model::Phase::forward:
    case Model::Phase::output:
      return "forward";
    case Model::Phase::backward:
      return "backward";
    case Model::Phase::update:
      return "update";
  }
  return "?";
}

json to_json(const Timing& timing) {
  return {{"median", timing.median},   {"quartile1", timing.quartile1}, {"quartile3", timing.quartile3},
          {"minimum", timing.minimum}, {"maximum", timing.maximum},     {"repetitions", timing.repetitions}};
}

// An infinite ceiling or share is an unknown one.
json known(double value) {
  return std::isfinite(value) && value > 0 ? json(value) : json();
}

double spectra(const BenchmarkResult& result, const Measurement& measurement) {
  return static_cast<double>(measurement.batch * result.shape.image_size * result.shape.image_size);
}

const char* name_of(Ceilings::Kind kind) {
  switch (kind) {
    case Ceilings::Kind::arithmetic:
      return "arithmetic";
    case Ceilings::Kind::memory:
      return "memory";
    case Ceilings::Kind::reading:
      return "reading";
  }
  return "?";
}

json to_json(const BenchmarkResult& result, const Measurement& m) {
  json entry = {{"mode", name_of(m.purpose)}, {"batch", m.batch}, {"memory_bytes", m.memory}};
  if (!m.left_out.empty()) {
    entry["left_out"] = m.left_out;
    return entry;
  }
  const double batch = static_cast<double>(m.batch), step = m.step.median,
               floor = std::max(m.memory_floor, m.arithmetic_floor);
  entry.update({{"step_seconds", to_json(m.step)},
                {"tiles_per_second", batch / step},
                {"spectra_per_second", spectra(result, m) / step},
                {"flops", m.flops},
                {"bytes", m.bytes},
                {"tflops", m.flops / step * 1e-12},
                {"gigabytes_per_second", m.bytes / step * 1e-9},
                {"share_of_matrix_rate", known(m.flops / step / result.ceilings.flops_per_second())},
                {"share_of_copy_bandwidth", known(m.bytes / step / result.ceilings.bytes_per_second())},
                {"bytes_per_parameter", m.bytes_per_parameter},
                {"memory_floor_seconds", known(m.memory_floor)},
                {"arithmetic_floor_seconds", known(m.arithmetic_floor)},
                {"operations_floor_seconds", known(m.parts_floor)},
                {"share_of_floor", known(floor / step)},
                {"share_of_operations_floor", known(m.parts_floor / step)}});
  if (m.overlapped.repetitions > 0)
    entry.update({{"overlapped_seconds", to_json(m.overlapped)},
                  {"overlapped_tiles_per_second", batch / m.overlapped.median},
                  {"overlapped_spectra_per_second", spectra(result, m) / m.overlapped.median}});
  if (m.update.repetitions > 0)
    entry.update({{"forward_seconds", to_json(m.forward)},
                  {"backward_seconds", to_json(m.backward)},
                  {"update_seconds", to_json(m.update)}});
  if (m.latency)
    entry["latency_seconds"] = {{"p50", m.latency->p50},
                                {"p90", m.latency->p90},
                                {"p99", m.latency->p99},
                                {"maximum", m.latency->maximum},
                                {"tiles", m.latency->tiles}};
  json operations = json::array();
  for (const PartTime& part : m.parts) {
    if (part.timing.repetitions == 0) continue;
    const Ceilings::Bound bound = result.ceilings.bound(part.flops, part.read, part.written);
    operations.push_back({{"layer", part.layer},
                          {"operation", part.operation},
                          {"phase", name_of(part.phase)},
                          {"seconds", to_json(part.timing)},
                          {"flops", part.flops},
                          {"bytes", part.read + part.written},
                          {"bytes_written", part.written},
                          {"share_of_ceiling", known(bound.seconds / part.timing.median)},
                          {"bound", name_of(bound.kind)}});
  }
  if (!operations.empty()) entry["operations"] = operations;
  return entry;
}

std::string of_ceiling(double share) {
  return std::isfinite(share) ? line("%.0f %%", 100 * share) : "n/a";
}

std::string roofline_table(const BenchmarkResult& result, const Measurement& m) {
  double sum = 0;
  for (const PartTime& part : m.parts) sum += part.timing.median;
  std::string text = line("\n%s, batch %lld, by operation (each repeated by itself)\n", name_of(m.purpose),
                          static_cast<long long>(m.batch));
  text += line("  %-8s %-14s %-17s %9s %9s %10s %7s %9s %8s %8s  %s\n", "phase", "layer", "operation",
               "GFLOP", "MB", "ms", "time", "GFLOP/s", "GB/s", "ceiling", "bound by");
  for (const PartTime& part : m.parts) {
    const double seconds = part.timing.median, bytes = part.read + part.written;
    const Ceilings::Bound bound = result.ceilings.bound(part.flops, part.read, part.written);
    text += line("  %-8s %-14s %-17s %9.3f %9.2f %10.4f %5.1f %% %9.1f %8.1f %8s  %s\n", name_of(part.phase),
                 part.layer.c_str(), part.operation.c_str(), part.flops * 1e-9, bytes * 1e-6, 1e3 * seconds,
                 100 * seconds / sum, part.flops / seconds * 1e-9, bytes / seconds * 1e-9,
                 of_ceiling(bound.seconds / seconds).c_str(), name_of(bound.kind));
  }
  return text + line("  %-41s %9.3f %9.2f %10.4f %7s %9.1f %8.1f %8s\n", "sum", m.flops * 1e-9,
                     m.bytes * 1e-6, 1e3 * sum, "", m.flops / sum * 1e-9, m.bytes / sum * 1e-9,
                     of_ceiling(m.parts_floor / sum).c_str());
}

}  // namespace

json to_json(const BenchmarkResult& result) {
  json checks = json::array();
  for (const Check& check : result.checks)
    checks.push_back({{"what", check.what}, {"error", check.error}, {"tolerance", check.tolerance}});
  json measurements = json::array();
  json loops = json::object(), medians = json::object();
  for (const Ceilings::Loop& loop : result.ceilings.loops) {
    loops[loop.name] = loop.per_second;
    medians[loop.name] = loop.median_per_second;
  }
  std::optional<int64_t> first;
  json training, inference;
  for (const Measurement& m : result.measurements) {
    if (!first) first = m.batch;
    measurements.push_back(to_json(result, m));
    if (m.batch == *first && m.left_out.empty())
      (m.purpose == Purpose::training ? training : inference) = m.step.median;
  }
  const ModelShape& shape = result.shape;
  return {{"complete", result.complete},
          {"device", result.device},
          {"precision", result.precision},
          {"batch", first ? json(*first) : json()},
          {"training_step_seconds", training},
          {"inference_seconds", inference},
          {"description", result.description},
          {"model",
           {{"image_size", shape.image_size},
            {"energy", shape.energy},
            {"channels", shape.channels},
            {"hidden", shape.hidden},
            {"latent", shape.blind > 0 ? "cell" : "tile"},
            {"latent_dim", shape.latent},
            {"parameters", shape.parameter_count()}}},
          {"checks", checks},
          {"ceilings",
           {{"bytes_per_second", known(result.ceilings.bytes_per_second())},
            {"read_bytes_per_second", known(result.ceilings.read_bytes_per_second())},
            {"flops_per_second", known(result.ceilings.flops_per_second())},
            {"loops", loops},
            {"loop_medians", medians},
            {"copy_bytes_per_second", known(result.ceilings.copy_bytes_per_second)},
            {"copied_bytes", result.ceilings.copied_bytes},
            {"matrix_flops_per_second", known(result.ceilings.product_flops_per_second)},
            {"matrix_size", result.ceilings.matrix},
            {"convolution_flops_per_second", known(result.ceilings.convolution_flops_per_second)},
            {"convolution_positions", result.ceilings.convolved}}},
          {"measurements", measurements}};
}

std::string checks_text(const BenchmarkResult& result, bool only_failed) {
  std::string text;
  for (const Check& check : result.checks)
    if (!only_failed || !check.passed())
      text += (text.empty() ? "" : "; ") + check.what +
              line(" %.1e, tolerance %.1e", check.error, check.tolerance);
  return text;
}

std::string benchmark_tables(const BenchmarkResult& result, bool roofline) {
  const ModelShape& shape = result.shape;
  const Ceilings& ceilings = result.ceilings;
  std::string text = line("%s\n", result.description.c_str());
  text += line("tiles of %lld x %lld x %lld, %lld parameters\n", static_cast<long long>(shape.image_size),
               static_cast<long long>(shape.image_size), static_cast<long long>(shape.energy),
               static_cast<long long>(shape.parameter_count()));
  text += "as the reference backend: " + checks_text(result, false) + "\n";
  text += "ceilings: ";
  for (const Ceilings::Loop& loop : ceilings.loops)
    text +=
        line("%s %.1f %s (median %.1f), ", loop.name.c_str(), loop.per_second * 1e-9,
             loop.traffic == CeilingLoop::Traffic::none ? "GFLOP/s" : "GB/s", loop.median_per_second * 1e-9);
  text += line("convert %.1f GB/s (2 x %s)", ceilings.copy_bytes_per_second * 1e-9,
               human_bytes(ceilings.copied_bytes).c_str());
  text += ceilings.matrix > 0
              ? line(", matrix product %.3f TFLOP/s (%lld^3)", ceilings.product_flops_per_second * 1e-12,
                     static_cast<long long>(ceilings.matrix))
              : ", matrix product n/a";
  text +=
      ceilings.convolved > 0
          ? line(", convolution %.3f TFLOP/s (3^3 taps, 128 channels, %lld positions)\n",
                 ceilings.convolution_flops_per_second * 1e-12, static_cast<long long>(ceilings.convolved))
          : ", convolution n/a\n";

  for (Purpose purpose : {Purpose::training, Purpose::inference}) {
    const bool training = purpose == Purpose::training;
    bool any = false;
    for (const Measurement& m : result.measurements) {
      if (m.purpose != purpose) continue;
      if (!any)
        text += line("\n%-10s %6s %11s %23s %10s %12s %9s %9s %11s\n", name_of(purpose), "batch", "ms",
                     "quartiles", "tiles/s", "spectra/s", "TFLOP/s", "GB/s", "memory");
      any = true;
      if (!m.left_out.empty()) {
        text += line("%-10s %6lld %s\n", "", static_cast<long long>(m.batch), m.left_out.c_str());
        continue;
      }
      const auto row = [&](const char* name, const Timing& timing, bool rates) {
        text += line("  %-15s %11.3f %11.3f %11.3f", name, 1e3 * timing.median, 1e3 * timing.quartile1,
                     1e3 * timing.quartile3);
        if (rates)
          text += line(" %10.1f %12.0f %9.3f %9.1f", static_cast<double>(m.batch) / timing.median,
                       spectra(result, m) / timing.median, m.flops / timing.median * 1e-12,
                       m.bytes / timing.median * 1e-9);
      };
      const std::string name = "step, " + std::to_string(m.batch);
      row(name.c_str(), m.step, true);
      text += line(" %11s\n", human_bytes(m.memory).c_str());
      row("overlapped", m.overlapped, true);
      text += "\n";
      if (training)
        for (auto [part, timing] :
             {std::pair{"forward", &m.forward}, {"backward", &m.backward}, {"update", &m.update}}) {
          row(part, *timing, false);
          text += "\n";
        }
      const double step = m.step.median;
      text += line("  floors: %.3f ms by memory (%.0f bytes per parameter), ", 1e3 * m.memory_floor,
                   m.bytes_per_parameter);
      text += ceilings.flops_per_second() > 0
                  ? line("%.3f ms by arithmetic; reached %.0f %%", 1e3 * m.arithmetic_floor,
                         100 * std::max(m.memory_floor, m.arithmetic_floor) / step) +
                        line("; of the operations' own floors, %.3f ms together, %.0f %%\n",
                             1e3 * m.parts_floor, 100 * m.parts_floor / step)
                  : line("n/a by arithmetic; reached %.0f %%\n", 100 * m.memory_floor / step);
      if (m.latency)
        text += line("  latency to the scores: p50 %.3f ms, p90 %.3f, p99 %.3f, max %.3f (%lld tiles)\n",
                     1e3 * m.latency->p50, 1e3 * m.latency->p90, 1e3 * m.latency->p99,
                     1e3 * m.latency->maximum, static_cast<long long>(m.latency->tiles));
    }
  }
  if (roofline)
    for (const Measurement& m : result.measurements)
      if (m.left_out.empty()) text += roofline_table(result, m);
  return text;
}

}  // namespace eelsvae
