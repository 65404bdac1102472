#include "engine/network/model.h"

namespace eelsvae {

namespace {

NetworkSpec network_spec(const ModelShape& shape, ReconstructionLoss loss) {
  const std::vector<int64_t> tile = {shape.image_size, shape.image_size, shape.energy};
  return {shape.layers(), tile, shape.blind > 0 ? tile : std::vector<int64_t>(), loss};
}

}  // namespace

Model::Model(Backend& backend, const ModelShape& shape, ReconstructionLoss loss, int64_t batch,
             Purpose purpose)
    : Network(backend, network_spec(shape, loss), batch, purpose), shape_(shape) {}

std::vector<Model::Convolution> Model::encoder_convolutions() const {
  std::vector<Convolution> convolutions;
  for (size_t k = 0; k < convolved; ++k) {
    const Layer& layer = *layers()[k];
    const ParameterStorage& bias = parameter(layer.bias);
    convolutions.push_back({spec(k).convolution, arena().at(layer.packed),
                            slice(arena().array(bias.compute), bias.offset, bias.parameter.count())});
  }
  return convolutions;
}

Array Model::features() const {
  return arena().array(layers()[convolved]->wiring.input);
}

void Model::encode_features() {
  run_forward(first_part(convolved), first_part(posterior_layer()));
}

}  // namespace eelsvae
