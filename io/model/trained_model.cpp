#include "io/model/trained_model.h"

#include "io/model/checkpoint.h"

namespace eelsvae {

TrainedModel load_trained_model(const SafetensorsFile& file, const Config& config, int64_t channels,
                                int64_t batch, const BackendOffer& offer) {
  const ModelShape shape = model_shape(config.tiles, config.model, channels);
  const ReconstructionLoss loss = config.loss.reconstruction;
  TrainedModel trained;
  trained.choice = choose_kernels(offer, shape, loss, batch, Purpose::inference);
  trained.backend = offer.create(trained.choice.variant);
  trained.model = std::make_unique<Model>(*trained.backend, shape, loss, batch, Purpose::inference);
  trained.model->allocate();
  load_checkpoint(file, *trained.model, false);
  return trained;
}

}  // namespace eelsvae
