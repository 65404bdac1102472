#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/network/parameter.h"
#include "kernels/conv3d.h"

// The network, written once: a table of layers. Parameters and their names, activations, memory, checkpoints
// and the parts of a step follow from it.
namespace eelsvae {

// Values between two layers as Linear layers see them. PyTorch flattens (channels, positions), the engine
// keeps (positions, channels); weights are turned when they are loaded and saved.
struct Features {
  int64_t channels = 0, positions = 1;
  int64_t count() const { return channels * positions; }
};

struct LayerSpec {
  enum class Kind { convolution, transposed_convolution, linear, energy_pooling, posterior };
  std::string name;  // of the published PyTorch module, "encoder.0"; what has no parameters: "latent"
  Kind kind;
  bool relu = false;
  // Of one tile. A transposed convolution's is the convolution that it transposes: its input is that one's
  // output.
  Conv3dProblem convolution = {};
  Features in = {}, out = {};  // of a Linear layer, a pooling or a posterior, whose positions are cells

  // Weight and bias, in this order; none of a pooling or a posterior.
  std::vector<Parameter> parameters() const;
  // Of the layer's output for one tile: (H, W, E, C), or features.
  std::vector<int64_t> output_shape() const;
};

struct ModelShape {
  int64_t image_size = 24, energy = 1312;
  std::array<int64_t, 4> channels = {32, 64, 128, 256};
  int64_t hidden = 512, latent = 48;
  // 0: a latent vector describes the whole tile, as published. Otherwise each cell of 4 x 4 pixels has one,
  // by the same weights, and pixels in squares of this side are told without being shown (blind_blocks.h).
  int64_t blind = 0;

  // The table. It begins with the encoder's convolutions.
  std::vector<LayerSpec> layers() const;

  int64_t cells() const { return blind > 0 ? bottleneck().h * bottleneck().w : 1; }
  // The convolutions' size after the encoder's four layers.
  Extent3 bottleneck() const { return {image_size / 4, image_size / 4, energy / 16}; }
  int64_t flattened() const { return bottleneck().volume() * channels[3]; }
  int64_t tile_count() const { return image_size * image_size * energy; }
  // The k-th of the encoder's convolutions; the decoder's k-th last layer is the transpose of the same.
  Conv3dProblem convolution(int k, int64_t batch) const;
  // What a network of cells makes of all energies of a cell, in place of the first Linear layer; transposed,
  // of the last.
  Conv3dProblem cell_convolution(int64_t batch) const;
  // Every parameter, in PyTorch's order of registration.
  std::vector<Parameter> parameters() const;
  int64_t parameter_count() const;
  bool operator==(const ModelShape&) const = default;
};

// Throws UserError where image_size is no multiple of 4 or energy none of 16.
ModelShape model_shape(const TilesConfig& tiles, const ModelConfig& model, int64_t energy);

}  // namespace eelsvae
