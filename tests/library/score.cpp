// Loads a model and scores every spectrum of an array that lies in this program's own memory, then of some of
// its rows; prints how many do not fit.
#include <cstdio>
#include <exception>
#include <vector>

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

  const SpectrumImage read = read_spectrum_image(argv[2]);
  const std::vector<float> array(read.counts.begin(), read.counts.end());  // (y, x, E), as a camera fills it
  const SpectrumImageView scan(read.y, read.x, read.energy, array);
  const auto score = [&](const SpectrumImageView& image, const char* name) {
    // Preparing changes counts: it works in a copy, which is the only one.
    const PreparedImage prepared =
        prepare(image.copy(), config.preprocess, std::nullopt, &fitted, std::nullopt, trained.backend.get());
    const ExpectationSource source = [&](const SpectrumImageView& of) {
      return expect_from(*trained.model, of, config.detection);
    };
    const SourceDescription description{SourceDescription::Kind::model, config.tiles.image_size,
                                        info.comparison, false};
    const DetectionResult result =
        run_detection(prepared.image, source, description, config.preprocess, config.detection);
    std::printf("%lld of %lld spectra of %s do not fit\n",
                static_cast<long long>(result.found.anomalous_pixels()),
                static_cast<long long>(image.pixels()), name);
  };
  score(scan, "the scan");
  score(scan.rows(8, 24), "some rows");
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "score: %s\n", error.what());
  return 1;
}
