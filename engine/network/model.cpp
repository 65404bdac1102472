#include "engine/network/model.h"

namespace eelsvae {

Model::Model(Backend& backend, const ModelShape& shape, ReconstructionLoss loss, int64_t batch,
             Purpose purpose)
    : Network(backend, {shape.layers(), {shape.image_size, shape.image_size, shape.energy}, {}, loss}, batch,
              purpose),
      shape_(shape) {
  while (spec(encoder_convolutions_).kind == LayerSpec::Kind::convolution) ++encoder_convolutions_;
}

std::vector<Model::Convolution> Model::encoder_convolutions() const {
  std::vector<Convolution> convolutions;
  for (size_t k = 0; k < encoder_convolutions_; ++k) {
    const Layer& layer = *layers()[k];
    const ParameterStorage& bias = parameter(layer.bias);
    convolutions.push_back({spec(k).convolution, arena().at(layer.packed),
                            slice(arena().array(bias.compute), bias.offset, bias.parameter.count())});
  }
  return convolutions;
}

Array Model::features() const {
  return arena().array(layers()[encoder_convolutions_]->wiring.input);
}

void Model::encode_features() {
  run_forward(first_part(encoder_convolutions_), first_part(posterior_layer()));
}

}  // namespace eelsvae
