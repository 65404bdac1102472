#include "engine/network/architecture.h"

#include <cmath>

#include "kernels/error.h"

namespace eelsvae {
namespace {

using Kind = LayerSpec::Kind;

// The published encoder; the decoder mirrors it.
struct ConvGeometry {
  Extent3 kernel, stride, padding;
};
constexpr ConvGeometry geometry[4] = {{{1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
                                      {{3, 3, 5}, {1, 1, 2}, {1, 1, 2}},
                                      {{3, 3, 3}, {2, 2, 2}, {1, 1, 1}},
                                      {{3, 3, 3}, {2, 2, 2}, {1, 1, 1}}};

}  // namespace

std::vector<LayerSpec> ModelShape::layers() const {
  std::vector<LayerSpec> list;
  auto conv = [&](const char* name, int k) {
    list.push_back({name, Kind::convolution, /*relu=*/true, convolution(k, 1)});
  };
  auto transposed = [&](const char* name, int k, bool relu) {
    list.push_back({name, Kind::transposed_convolution, relu, convolution(k, 1)});
  };
  auto linear = [&](const char* name, Features in, Features out, bool relu) {
    if (blind == 0) {
      list.push_back({name, Kind::linear, relu, {}, in, out});
      return;
    }
    // The same weights for every cell: a convolution over its energies, or of its features alone.
    Conv3dProblem p = cell_convolution(1);
    const bool spreads = out.positions > 1;
    if (in.positions == 1 && !spreads) {
      p.in.e = p.kernel.e = 1;
      p.in_channels = in.channels;
      p.out_channels = out.channels;
    }
    list.push_back({name, spreads ? Kind::transposed_convolution : Kind::convolution, relu, p});
  };
  // Numbers are indices in PyTorch's two nn.Sequential, in which ReLUs and the flattening count.
  const Features flat = {channels[3], bottleneck().volume()};
  conv("encoder.0", 0);
  conv("encoder.2", 1);
  conv("encoder.4", 2);
  conv("encoder.6", 3);
  linear("encoder.9", flat, {hidden}, true);
  linear("encoder.11", {hidden}, {2 * latent}, false);
  list.push_back({"latent", Kind::posterior, false, {}, {2 * latent, cells()}, {latent, cells()}});
  linear("decoder.0", {latent}, {hidden}, true);
  linear("decoder.2", {hidden}, flat, true);
  transposed("decoder.5", 3, true);
  transposed("decoder.7", 2, true);
  transposed("decoder.9", 1, true);
  transposed("decoder.11", 0, false);
  return list;
}

std::vector<Parameter> LayerSpec::parameters() const {
  if (kind == Kind::posterior || kind == Kind::energy_pooling) return {};
  std::vector<int64_t> shape;
  std::array<int64_t, 4> view, bias_view;
  int64_t inputs = 0;  // from how many values of its input an output value is made
  const Conv3dProblem& p = convolution;
  if (kind == Kind::linear) {
    shape = {out.count(), in.count()};
    view = in.positions > 1 ? std::array{out.count(), in.channels, in.positions, int64_t{1}}
                            : std::array{int64_t{1}, out.channels, out.positions, in.count()};
    bias_view = {1, out.channels, out.positions, 1};
    inputs = in.count();
  } else {
    // A transposed layer's weight is that of its convolution: (in, out) of the one are (out, in) of the
    // other. It has as many taps, but its outputs share them: with stride s, each gets every s-th, and of a
    // single place each gets one.
    const bool forward = kind == Kind::convolution;
    shape = {p.out_channels, p.in_channels, p.kernel.h, p.kernel.w, p.kernel.e};
    view = {p.out_channels, p.in_channels, p.kernel.volume(), 1};
    bias_view = {forward ? p.out_channels : p.in_channels, 1, 1, 1};
    inputs = forward ? p.in_channels * p.kernel.volume()
                     : p.out_channels * p.kernel.volume() * p.out().volume() / p.in.volume();
  }
  // He et al. (ICCV 2015): with variance 2 / inputs a signal passes a layer and its ReLU as strong as it
  // came, with 1 / inputs one without ReLU. With PyTorch's default, 1 / (3 inputs), it would be weakened ten
  // thousandfold on its way through twelve layers, and for many epochs the network would learn nothing but
  // the mean spectrum.
  const double bound = std::sqrt((relu ? 6.0 : 3.0) / static_cast<double>(inputs));
  const int64_t biases = bias_view[0] * bias_view[1] * bias_view[2] * bias_view[3];
  return {{name + ".weight", shape, view, bound}, {name + ".bias", {biases}, bias_view, 0}};
}

std::vector<int64_t> LayerSpec::output_shape() const {
  auto shape = [](Extent3 e, int64_t channels) { return std::vector<int64_t>{e.h, e.w, e.e, channels}; };
  switch (kind) {
    case Kind::convolution:
      return shape(convolution.out(), convolution.out_channels);
    case Kind::transposed_convolution:
      return shape(convolution.in, convolution.in_channels);
    case Kind::linear:
    case Kind::energy_pooling:
    case Kind::posterior:
      break;
  }
  return {out.count()};
}

Conv3dProblem ModelShape::convolution(int k, int64_t batch) const {
  Conv3dProblem p;
  p.batch = batch;
  p.in = {image_size, image_size, energy};
  for (int i = 0; i <= k; ++i) {
    if (i > 0) p.in = p.out();
    p.in_channels = i == 0 ? 1 : channels[static_cast<size_t>(i) - 1];
    p.out_channels = channels[static_cast<size_t>(i)];
    p.kernel = geometry[i].kernel;
    p.stride = geometry[i].stride;
    p.padding = geometry[i].padding;
  }
  return p;
}

Conv3dProblem ModelShape::cell_convolution(int64_t batch) const {
  return {batch, bottleneck(), channels[3], hidden, {1, 1, bottleneck().e}, {1, 1, 1}, {0, 0, 0}};
}

std::vector<Parameter> ModelShape::parameters() const {
  std::vector<Parameter> list;
  for (const LayerSpec& layer : layers())
    for (Parameter& parameter : layer.parameters()) list.push_back(std::move(parameter));
  return list;
}

int64_t ModelShape::parameter_count() const {
  int64_t sum = 0;
  for (const Parameter& p : parameters()) sum += p.count();
  return sum;
}

ModelShape model_shape(const TilesConfig& tiles, const ModelConfig& model, int64_t energy) {
  if (tiles.image_size < 4 || tiles.image_size % 4 != 0)
    throw UserError("tiles.image_size: " + std::to_string(tiles.image_size) + " is not a multiple of 4");
  if (energy < 16 || energy % 16 != 0)
    throw UserError("the network needs a multiple of 16 energy channels, not " + std::to_string(energy));
  return {tiles.image_size, energy,           model.channels,
          model.hidden,     model.latent_dim, model.latent == LatentOf::cell ? model.blind : 0};
}

}  // namespace eelsvae
