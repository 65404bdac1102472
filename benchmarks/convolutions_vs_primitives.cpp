// Times every pass of the network's convolutions against the bare oneDNN primitive for the same arrays, in
// alternation, so that both see the same machine. A transposed convolution has the passes of its convolution
// in another order and is not listed again. Weights that our pass wants packed are packed beforehand, as
// oneDNN's are.
//
//   benchmark_convolutions_vs_primitives [--precision fp32|bf16] [--batch N] [--energy N] [--rounds N]
//
// Times are the processor's, for the busiest thread; the best of the rounds count.

#include <algorithm>
#include <cstdio>
#include <functional>
#include <limits>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "benchmarks/bare_primitives.h"
#include "benchmarks/network_options.h"
#include "engine/bench/processor_time.h"
#include "engine/network/model.h"
#include "io/terminal/program.h"
#include "kernels/backend_memory.h"

using namespace eelsvae;

namespace {

int benchmark(const NetworkOptions& options) {
  const std::unique_ptr<Backend> backend = make_backend("cpu", options.precision, options.kernels);
  const DType type = backend->storage_type();
  const ModelShape shape = options.shape();
  std::printf("%s, batch %lld, %lld channels, best of %d rounds\n", backend->description().c_str(),
              static_cast<long long>(options.batch), static_cast<long long>(options.energy), options.rounds);
  std::printf("%-10s %-16s %10s %10s %16s %14s\n", "channels", "pass", "ours, ms", "GFLOP/s", "primitive, ms",
              "its time/ours");
  double all_ours = 0, all_bare = 0;
  for (int k = 0; k < 4; ++k) {
    const Conv3dProblem p = shape.convolution(k, options.batch);
    const std::unique_ptr<Conv3d> convolution =
        backend->make_conv3d(p, /*transposed=*/false, /*relu=*/true, Passes::training);
    const auto memory = [&](int64_t count, DType t) {
      return BackendMemory(*backend, static_cast<size_t>(count) * size_of(t));
    };
    const BackendMemory memory_x = memory(p.x_count(), type), memory_y = memory(p.y_count(), type),
                        memory_w = memory(p.weight_count(), DType::f32),
                        memory_b = memory(p.out_channels, DType::f32),
                        packed(*backend, convolution->packed_bytes()),
                        workspace(*backend, std::max<size_t>(1, convolution->workspace_bytes()));
    const Array x = {memory_x.data(), type, p.x_count()}, y = {memory_y.data(), type, p.y_count()},
                w = {memory_w.data(), DType::f32, p.weight_count()},
                b = {memory_b.data(), DType::f32, p.out_channels};
    for (const Array& array : {x, y, w, b}) fill_random(array.data, array.bytes());
    convolution->pack(w, packed.data(), workspace.data());

    const auto compare = [&](const char* name, ConvolutionPass pass, const std::function<void()>& run) {
      BarePrimitive bare = bare_convolution(p, onednn_type(type), pass);
      double ours = std::numeric_limits<double>::infinity(), theirs = ours;
      for (int round = 0; round <= options.rounds; ++round) {  // the first one warms up
        const double seconds = processor_seconds_of(run),
                     bare_seconds = processor_seconds_of([&] { bare.run(); });
        if (round == 0) continue;
        ours = std::min(ours, seconds);
        theirs = std::min(theirs, bare_seconds);
      }
      all_ours += ours;
      all_bare += theirs;
      std::printf("%-10s %-16s %10.2f %10.0f %16.2f %14.2f\n", bare.name.c_str(), name, 1e3 * ours,
                  p.flops() / ours * 1e-9, 1e3 * theirs, theirs / ours);
      std::fflush(stdout);
    };
    compare("forward", ConvolutionPass::forward,
            [&] { convolution->forward(x, packed.data(), b, y, workspace.data()); });
    compare("data gradient", ConvolutionPass::data,
            [&] { convolution->backward_data(y, packed.data(), x, workspace.data()); });
    compare("weight gradient", ConvolutionPass::weights,
            [&] { convolution->backward_weights(x, y, w, workspace.data()); });
  }
  std::printf("%-27s %10.2f %10s %16.2f %14.2f\n", "sum", 1e3 * all_ours, "", 1e3 * all_bare,
              all_bare / all_ours);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  NetworkOptions options;
  CLI::App app("Times the passes of the network's convolutions against bare oneDNN primitives.");
  options.add_to(app);
  CLI11_PARSE(app, argc, argv);
  return run_program("convolutions_vs_primitives", [&] { return benchmark(options); });
}
