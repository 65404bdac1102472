#include "io/model/trained_model.h"

#include "engine/detect/comparison.h"
#include "engine/detect/job.h"

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

void complete_description(CheckpointInfo& info, Model& model, const SpectrumImageView& prepared,
                          const StopToken& stop) {
  const DetectionConfig& detection = info.config.detection;
  const ExpectationSource expected = [&](const SpectrumImageView& image) {
    return expect_from(model, image, detection, {}, stop);
  };
  if (info.comparison)
    info.comparison->finds =
        compare_finds(prepared, info.config.tiles.image_size, expected, info.config.preprocess, detection);
  if (detection.threshold_by_held_out()) {
    const NormalSpectra normal{prepared, info.config.preprocess, held_out_pixels(prepared, info.config)};
    info.normal_scores = normal_scores(normal, expected(prepared), detection, {&detection.score, 1}).front();
  }
}

}  // namespace eelsvae
