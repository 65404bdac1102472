#pragma once

#include <vector>

#include "engine/network/network.h"

namespace eelsvae {

// The 3D-CVAE: the network whose target is its input, tiles (image_size, image_size, energy) of an image,
// with a posterior in its middle. A network of cells (ModelShape::blind) has an input of its own, the tiles
// without what it is not shown.
class Model : public Network {
 public:
  Model(Backend& backend, const ModelShape& shape, ReconstructionLoss loss, int64_t batch, Purpose purpose);

  const ModelShape& shape() const { return shape_; }

  // For those who run the encoder's convolutions themselves: the convolutions, for one tile, and where their
  // features go, (batch, flattened). encode_features() queues what makes the posterior of them, mean and
  // log-variance, (batch, 2 latent); a reconstruction that starts from it needs it after load_tiles().
  struct Convolution {
    Conv3dProblem problem;
    const void* packed;
    ConstArray bias;
  };
  std::vector<Convolution> encoder_convolutions() const;
  Array features() const;
  void encode_features();
  Array posterior() const { return posterior_array(); }

 private:
  static constexpr size_t convolved = 4;  // layers, the first ones, that are the encoder's convolutions
  ModelShape shape_;
};

}  // namespace eelsvae
