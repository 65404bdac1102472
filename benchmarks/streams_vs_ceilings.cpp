// Times what is bound by memory, the fused Adam update and the passes of a big Linear layer at batch 1,
// against loops that only move memory, in alternation, so that both see the same machine. A share is the
// bytes per second of the one over those of the other, each the best of its repetitions, by processor time.
//
//   benchmark_streams_vs_ceilings [--precision fp32|bf16] [--rounds N] [--least SHARE]
//
// With --least it ends with status 1 where a share is below.

#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "engine/bench/processor_time.h"
#include "io/terminal/program.h"
#include "kernels/backend.h"
#include "kernels/backend_memory.h"

using namespace eelsvae;

namespace {

struct Stream {
  std::string name;
  double bytes;
  CeilingLoop::Traffic traffic;
  std::function<void()> run;
  double best = 0;  // bytes per second
};

int benchmark(const std::string& precision, int rounds, double least) {
  const std::unique_ptr<Backend> backend = make_backend("cpu", precision);
  const DType type = backend->storage_type(), f32 = DType::f32;
  // The shapes of the decoder's big layer, an eighth as long; its transpose is the encoder's.
  constexpr int64_t narrow = 512, wide = 94464, count = narrow * wide;
  const auto bytes = [](int64_t n, DType t) { return static_cast<size_t>(n) * size_of(t); };
  const BackendMemory loop_memory(*backend, size_t{1} << 29), memory_w(*backend, bytes(count, f32)),
      memory_m(*backend, bytes(count, f32)), memory_v(*backend, bytes(count, f32)),
      memory_shadow(*backend, bytes(count, type)), memory_x(*backend, bytes(wide, f32)),
      memory_y(*backend, bytes(wide, f32)), memory_bias(*backend, bytes(wide, f32));
  const Array w = {memory_w.data(), f32, count}, m = {memory_m.data(), f32, count},
              v = {memory_v.data(), f32, count}, shadow = {memory_shadow.data(), type, count},
              bias = {memory_bias.data(), f32, wide};
  for (const Array& array : {w, m, v}) std::fill_n(array.as<float>(), count, 1e-3f);  // pages of their own
  backend->convert(w, shadow);
  const auto part = [&](const BackendMemory& memory, int64_t n) { return Array{memory.data(), type, n}; };
  const auto read = CeilingLoop::Traffic::read, write = CeilingLoop::Traffic::write;
  const StepScalars scalars;

  std::vector<Stream> ceilings, streams;
  for (CeilingLoop& loop : backend->ceiling_loops(loop_memory.data(), size_t{1} << 29))
    if (loop.traffic != CeilingLoop::Traffic::none)
      ceilings.push_back({loop.name, loop.bytes, loop.traffic, loop.run});
  std::swap(ceilings.front(), ceilings.back());  // one that writes first: memory nobody wrote to is no memory
  const std::string shape[2] = {"512-94464", "94464-512"};
  std::vector<std::unique_ptr<Linear>> layers;
  std::vector<std::unique_ptr<BackendMemory>> workspaces;
  for (int i = 0; i < 2; ++i) {
    const int64_t in = i ? wide : narrow, out = i ? narrow : wide;
    Linear* layer = layers.emplace_back(backend->make_linear({1, in, out}, Passes::training)).get();
    void* workspace =
        workspaces.emplace_back(std::make_unique<BackendMemory>(*backend, layer->workspace_bytes() + 1))
            ->data();
    const Array x = part(memory_x, in), y = part(memory_y, out), b = {bias.data, f32, out};
    streams.push_back({"forward " + shape[i], static_cast<double>(shadow.bytes()), read,
                       [=] { layer->forward(x, shadow, b, true, y, workspace); }});
    streams.push_back({"data gradient " + shape[i], static_cast<double>(shadow.bytes()), read,
                       [=] { layer->backward_data(y, shadow, x, workspace); }});
    const Array copy = type == f32 ? Array() : shadow;
    streams.push_back({"Adam " + shape[i],
                       6.0 * static_cast<double>(w.bytes()) + static_cast<double>(copy.bytes()), write,
                       [=, &backend, &scalars] {
                         backend->adam_outer_product(1, in, out, x, y, &scalars, w, m, v, copy);
                       }});
  }

  for (int round = 0; round <= rounds; ++round)  // the first warms up
    for (std::vector<Stream>* list : {&ceilings, &streams})
      for (Stream& stream : *list) {
        const double seconds = processor_seconds_of(stream.run);
        if (round > 0) stream.best = std::max(stream.best, stream.bytes / seconds);
      }

  std::printf("%s; best of %d rounds\n", backend->description().c_str(), rounds);
  for (const Stream& c : ceilings) std::printf("%-26s %8.1f GB/s\n", c.name.c_str(), c.best * 1e-9);
  bool passed = true;
  for (const Stream& stream : streams) {
    double ceiling = 0;
    for (const Stream& c : ceilings)
      if (c.traffic == stream.traffic) ceiling = std::max(ceiling, c.best);
    const double share = stream.best / ceiling;
    passed = passed && share >= least;
    std::printf("%-26s %8.1f GB/s %6.0f %%%s\n", stream.name.c_str(), stream.best * 1e-9, 100 * share,
                share < least ? "  too slow" : "");
  }
  return passed ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::string precision = "fp32";
  int rounds = 5;
  double least = 0;
  CLI::App app("Times Adam and Linear layers against loops that only move memory.");
  app.add_option("--precision", precision, "fp32 or bf16")->capture_default_str();
  app.add_option("--rounds", rounds, "timed repetitions")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--least", least, "share of the ceiling that each must reach")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return run_program("streams_vs_ceilings", [&] { return benchmark(precision, rounds, least); });
}
