// Times a whole forward pass of the network against the sum of its bare oneDNN primitives, in alternation, so
// that both see the same machine. What lies between the two is ours: the convolutions whose channels are
// multiples of 32, bias and ReLU, the posterior, the loss. The Linear layers' bare primitive is oneDNN's
// inner product on the same plain weights.
//
//   benchmark_forward_vs_primitives [--precision fp32|bf16] [--batch N] [--energy N] [--rounds N] [--most
//   RATIO]
//
// Times are the processor's, for the busiest thread. With --most it ends with status 1 where the best pass of
// all rounds takes more than so many times the sum of the primitives' best.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "benchmarks/bare_primitives.h"
#include "benchmarks/network_options.h"
#include "benchmarks/timing.h"
#include "engine/bench/processor_time.h"
#include "engine/network/model.h"
#include "io/terminal/program.h"

using namespace eelsvae;
using dnnl::memory;
using Tag = memory::format_tag;

namespace {

struct Bare : BarePrimitive {
  std::vector<double> seconds;
};

Bare bare_layer(const Conv3dProblem& problem, memory::data_type type, bool transposed) {
  Bare bare{bare_convolution(problem, type, transposed ? ConvolutionPass::data : ConvolutionPass::forward),
            {}};
  bare.name = (transposed ? "transposed " : "convolution ") + bare.name;
  return bare;
}

Bare bare_linear(const LinearProblem& p, memory::data_type type) {
  const memory::desc x({p.batch, p.in}, type, Tag::ab), w({p.out, p.in}, type, Tag::ab),
      y({p.batch, p.out}, type, Tag::ab);
  const memory::desc b({p.out}, memory::data_type::f32, Tag::a);
  using Forward = dnnl::inner_product_forward;
  const Forward::primitive_desc d(Forward::desc(dnnl::prop_kind::forward_inference, x, w, b, y),
                                  onednn_engine());
  Bare bare;
  bare.name = "linear " + std::to_string(p.in) + "-" + std::to_string(p.out);
  bare.flops = p.flops();
  bare.primitive = Forward(d);
  bare.argument(DNNL_ARG_SRC, x);
  bare.argument(DNNL_ARG_WEIGHTS, w);
  bare.argument(DNNL_ARG_BIAS, b);
  bare.argument(DNNL_ARG_DST, y);
  return bare;
}

int benchmark(const NetworkOptions& options, double most) {
  const int64_t batch = options.batch;
  std::unique_ptr<Backend> backend = make_backend("cpu", options.precision, options.kernels);
  const ModelShape shape = options.shape();
  std::printf("%s; %lld parameters, batch %lld, %lld channels, median of %d rounds\n",
              backend->description().c_str(), static_cast<long long>(shape.parameter_count()),
              static_cast<long long>(batch), static_cast<long long>(options.energy), options.rounds);
  Model model(*backend, shape, ReconstructionLoss::cross_entropy, batch, Purpose::inference);
  model.allocate();
  model.initialize(1);
  std::vector<float> tiles(static_cast<size_t>(batch * shape.tile_count()));
  for (size_t i = 0; i < tiles.size(); ++i) tiles[i] = 0.5f + 0.4f * std::sin(0.01f * static_cast<float>(i));

  const auto type = onednn_type(backend->storage_type());
  std::vector<Bare> bare;
  for (int k = 0; k < 4; ++k) bare.push_back(bare_layer(shape.convolution(k, batch), type, false));
  bare.push_back(bare_linear({batch, shape.flattened(), shape.hidden}, type));
  bare.push_back(bare_linear({batch, shape.hidden, 2 * shape.latent}, type));
  bare.push_back(bare_linear({batch, shape.latent, shape.hidden}, type));
  bare.push_back(bare_linear({batch, shape.hidden, shape.flattened()}, type));
  for (int k = 3; k >= 0; --k) bare.push_back(bare_layer(shape.convolution(k, batch), type, true));

  // Every round times the whole model and all of its primitives; the first round only warms up.
  std::vector<double> whole, sums, ratios;
  for (int round = 0; round <= options.rounds; ++round) {
    model.load_tiles(tiles.data());
    double model_seconds = processor_seconds_of([&] { model.evaluate(); });
    double sum = 0;
    for (Bare& b : bare) {
      double seconds = processor_seconds_of([&] { b.run(); });
      sum += seconds;
      if (round > 0) b.seconds.push_back(seconds);
    }
    if (round == 0) continue;
    whole.push_back(model_seconds);
    sums.push_back(sum);
    ratios.push_back(model_seconds / sum);
  }
  std::printf("%-24s %10s %10s %10s\n", "bare primitive", "ms", "GFLOP/s", "GB/s");
  for (const Bare& b : bare) {
    double s = median(b.seconds);
    std::printf("%-24s %10.2f %10.0f %10.1f\n", b.name.c_str(), 1e3 * s, b.flops / s * 1e-9,
                b.bytes / s * 1e-9);
  }
  std::printf("%-24s %10.2f\n%-24s %10.2f\n", "sum of primitives", 1e3 * median(sums), "whole forward pass",
              1e3 * median(whole));
  auto [low, high] = std::minmax_element(ratios.begin(), ratios.end());
  std::printf("ratio: median %.3f, %.3f to %.3f\n", median(ratios), *low, *high);
  double best_sum = 0;
  for (const Bare& b : bare) best_sum += *std::min_element(b.seconds.begin(), b.seconds.end());
  const double best = *std::min_element(whole.begin(), whole.end()) / best_sum;
  std::printf("ratio of the best: %.3f\n", best);
  return best <= most ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  NetworkOptions options;
  double most = std::numeric_limits<double>::infinity();
  CLI::App app("Times the network's forward pass against the sum of its bare oneDNN primitives.");
  options.add_to(app);
  app.add_option("--most", most, "ratio of the best above which the program fails");
  CLI11_PARSE(app, argc, argv);
  return run_program("forward_vs_primitives", [&] { return benchmark(options, most); });
}
