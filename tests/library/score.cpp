// Reads a spectrum image, loads a model, scores every spectrum and prints how many do not fit.
#include <cstdio>
#include <exception>

#include "engine/detect/job.h"
#include "engine/prepare/preprocess.h"
#include "engine/thread_count.h"
#include "io/files/safetensors.h"
#include "io/formats/spectrum_image_file.h"
#include "io/model/checkpoint.h"
#include "io/model/trained_model.h"

using namespace eelsvae;

int main(int, char** argv) try {
  const ThreadCount threads(2);  // until the end of this function, for what it asks for
  const SafetensorsFile file(argv[1]);
  const CheckpointInfo info = read_checkpoint_info(file);
  const Config& config = info.config;
  const TrainedModel trained =
      load_trained_model(file, config, info.energy.size, 4, find_backend("cpu", config.precision));
  const FittedPreprocess fitted{info.energy, info.scaling, info.alignment};
  const PreparedImage prepared = prepare(read_spectrum_image(argv[2]), config.preprocess, std::nullopt,
                                         &fitted, std::nullopt, trained.backend.get());
  const ExpectationSource source = [&](const SpectrumImage& image) {
    return expect_from(*trained.model, image, config.detection);
  };
  const DetectionResult result = run_detection(prepared.image, source, config.preprocess, config.detection);
  std::printf("%lld of %lld spectra do not fit\n", static_cast<long long>(result.found.anomalous_pixels()),
              static_cast<long long>(prepared.image.pixels()));
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "score: %s\n", error.what());
  return 1;
}
