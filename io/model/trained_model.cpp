#include "io/model/trained_model.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "engine/detect/comparison.h"
#include "engine/detect/job.h"

namespace eelsvae {

// By FNV-1a over words of eight bytes: it tells models apart, nobody is to be kept from forging one.
std::string model_fingerprint(const SafetensorsFile& file) {
  uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&](const void* bytes, size_t size) {
    const auto* from = static_cast<const std::byte*>(bytes);
    for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
      uint64_t word = 0;
      std::memcpy(&word, from + at, std::min(sizeof word, size - at));
      hash = (hash ^ word) * 0x100000001b3;
    }
  };
  for (const std::string& name : file.names()) {
    if (name.starts_with("optimizer.")) continue;
    add(name.data(), name.size());
    const TensorView& tensor = file.tensor(name);
    add(tensor.data, tensor.bytes);
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

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
