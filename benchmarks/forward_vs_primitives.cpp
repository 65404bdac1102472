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
#include <unordered_map>
#include <vector>

#include <CLI/CLI.hpp>

#include "benchmarks/timing.h"
#include "engine/model.h"
#include "engine/processor_time.h"
#include "io/program.h"
#include "kernels/cpu/onednn.h"

using namespace eelsvae;
using dnnl::memory;
using Tag = memory::format_tag;

namespace {

// A primitive with memory of its own.
struct Bare {
  std::string name;
  double flops, bytes;
  dnnl::primitive primitive;
  std::unordered_map<int, memory> arguments;
  std::vector<double> seconds;

  void argument(int which, const memory::desc& desc) {
    memory m(desc, cpu::onednn_engine());
    std::fill_n(static_cast<char*>(m.get_data_handle()), desc.get_size(), char{0});
    bytes += static_cast<double>(desc.get_size());
    arguments.emplace(which, m);
  }
  void run() {
    primitive.execute(cpu::onednn_stream(), arguments);
    cpu::onednn_stream().wait();
  }
};

Bare bare_convolution(const Conv3dProblem& p, memory::data_type type, bool transposed) {
  auto& engine = cpu::onednn_engine();
  const Extent3 out = p.out();
  auto after = [](int64_t o, int64_t i, int64_t k, int64_t s, int64_t pad) {
    return (o - 1) * s + k - i - pad;
  };
  const memory::dims strides = {p.stride.h, p.stride.w, p.stride.e};
  const memory::dims before = {p.padding.h, p.padding.w, p.padding.e};
  const memory::dims behind = {after(out.h, p.in.h, p.kernel.h, p.stride.h, p.padding.h),
                               after(out.w, p.in.w, p.kernel.w, p.stride.w, p.padding.w),
                               after(out.e, p.in.e, p.kernel.e, p.stride.e, p.padding.e)};
  const memory::desc x({p.batch, p.in_channels, p.in.h, p.in.w, p.in.e}, type, Tag::ndhwc);
  const memory::desc y({p.batch, p.out_channels, out.h, out.w, out.e}, type, Tag::ndhwc);
  const memory::desc w({p.out_channels, p.in_channels, p.kernel.h, p.kernel.w, p.kernel.e}, type, Tag::any);
  const memory::desc b({p.out_channels}, memory::data_type::f32, Tag::a);
  const auto direct = dnnl::algorithm::convolution_direct;
  dnnl::primitive_attr relu;
  dnnl::post_ops operations;
  operations.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
  relu.set_post_ops(operations);
  using Forward = dnnl::convolution_forward;
  const Forward::primitive_desc forward(
      Forward::desc(dnnl::prop_kind::forward_inference, direct, x, w, b, y, strides, before, behind), relu,
      engine);

  Bare bare;
  bare.name = std::string(transposed ? "transposed " : "convolution ") + std::to_string(p.in_channels) + "-" +
              std::to_string(p.out_channels);
  bare.flops = p.flops();
  bare.bytes = 0;
  if (transposed) {
    using Backward = dnnl::convolution_backward_data;
    const Backward::primitive_desc d(Backward::desc(direct, x, w, y, strides, before, behind), engine,
                                     forward);
    bare.primitive = Backward(d);
    bare.argument(DNNL_ARG_DIFF_DST, y);
    bare.argument(DNNL_ARG_WEIGHTS, d.weights_desc());
    bare.argument(DNNL_ARG_DIFF_SRC, x);
  } else {
    bare.primitive = Forward(forward);
    bare.argument(DNNL_ARG_SRC, x);
    bare.argument(DNNL_ARG_WEIGHTS, forward.weights_desc());
    bare.argument(DNNL_ARG_BIAS, b);
    bare.argument(DNNL_ARG_DST, y);
  }
  return bare;
}

Bare bare_linear(const LinearProblem& p, memory::data_type type) {
  const memory::desc x({p.batch, p.in}, type, Tag::ab), w({p.out, p.in}, type, Tag::ab),
      y({p.batch, p.out}, type, Tag::ab);
  const memory::desc b({p.out}, memory::data_type::f32, Tag::a);
  using Forward = dnnl::inner_product_forward;
  const Forward::primitive_desc d(Forward::desc(dnnl::prop_kind::forward_inference, x, w, b, y),
                                  cpu::onednn_engine());
  Bare bare;
  bare.name = "linear " + std::to_string(p.in) + "-" + std::to_string(p.out);
  bare.flops = p.flops();
  bare.bytes = 0;
  bare.primitive = Forward(d);
  bare.argument(DNNL_ARG_SRC, x);
  bare.argument(DNNL_ARG_WEIGHTS, w);
  bare.argument(DNNL_ARG_BIAS, b);
  bare.argument(DNNL_ARG_DST, y);
  return bare;
}

int benchmark(const std::string& precision, int64_t batch, int64_t energy, int rounds, double most) {
  std::unique_ptr<Backend> backend = make_backend("cpu", precision);
  ModelShape shape;
  shape.energy = energy;
  std::printf("%s; %lld parameters, batch %lld, %lld channels, median of %d rounds\n",
              backend->description().c_str(), static_cast<long long>(shape.parameter_count()),
              static_cast<long long>(batch), static_cast<long long>(energy), rounds);
  Model model(*backend, shape, ReconstructionLoss::cross_entropy, batch, Purpose::inference);
  model.allocate();
  model.initialize(1);
  std::vector<float> tiles(static_cast<size_t>(batch * shape.tile_count()));
  for (size_t i = 0; i < tiles.size(); ++i) tiles[i] = 0.5f + 0.4f * std::sin(0.01f * static_cast<float>(i));

  const auto type = cpu::onednn_type(backend->activation_type());
  std::vector<Bare> bare;
  for (int k = 0; k < 4; ++k) bare.push_back(bare_convolution(shape.convolution(k, batch), type, false));
  bare.push_back(bare_linear({batch, shape.flattened(), shape.hidden}, type));
  bare.push_back(bare_linear({batch, shape.hidden, 2 * shape.latent}, type));
  bare.push_back(bare_linear({batch, shape.latent, shape.hidden}, type));
  bare.push_back(bare_linear({batch, shape.hidden, shape.flattened()}, type));
  for (int k = 3; k >= 0; --k) bare.push_back(bare_convolution(shape.convolution(k, batch), type, true));

  // Every round times the whole model and all of its primitives; the first round only warms up.
  std::vector<double> whole, sums, ratios;
  for (int round = 0; round <= rounds; ++round) {
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
  std::string precision = "fp32";
  int64_t batch = 1, energy = 1312;
  int rounds = 9;
  double most = std::numeric_limits<double>::infinity();
  CLI::App app("Times the network's forward pass against the sum of its bare oneDNN primitives.");
  app.add_option("--precision", precision, "fp32 or bf16")->capture_default_str();
  app.add_option("--batch", batch, "tiles")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--energy", energy, "channels, a multiple of 16")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--rounds", rounds, "timed repetitions")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--most", most, "ratio of the best above which the program fails");
  CLI11_PARSE(app, argc, argv);
  return run_program("forward_vs_primitives",
                     [&] { return benchmark(precision, batch, energy, rounds, most); });
}
