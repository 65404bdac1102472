// Trains a model on an array that lies in this program's own memory and looks for anomalies with it, without
// any file.
#include <cstdio>
#include <exception>

#include "engine/detect/job.h"
#include "engine/prepare/preprocess.h"
#include "engine/specimen/simulate.h"
#include "engine/train/job.h"

using namespace eelsvae;

int main() try {
  SimulationSettings film;
  film.height = 24;
  film.width = 16;
  film.channels = 64;
  film.energy_offset_ev = 700;
  film.seed = 3;
  const SpectrumImage scan = simulate(film).image;  // (y, x, E) counts

  Config config;
  config.tiles.image_size = config.tiles.sliding_window_stride = 8;
  config.model = {{4, 8, 8, 16}, 32, 4};
  config.training.epochs = 2;
  config.training.batch_size = 2;
  const BackendOffer offer = find_backend("cpu", "fp32");
  const PreparedImage prepared = prepare(scan, config.preprocess, config.data.energy_range);

  TrainingJob job(offer, config, prepared.image);
  job.start();
  BestWeights best(job.model());
  job.run(best);
  const EpochRecord& last = job.state().history.back();
  std::printf("loss %.9g after %lld epochs\n", last.training.loss, static_cast<long long>(last.epoch));

  const TrainedModel trained = job.finish(best);
  const ExpectationSource model = [&](const SpectrumImageView& image) {
    return expect_from(*trained.model, image, config.detection);
  };
  const SourceDescription description{SourceDescription::Kind::model, config.tiles.image_size, {}, true};
  const DetectionResult result =
      run_detection(prepared.image, model, description, config.preprocess, config.detection);
  std::printf("%lld of %lld spectra do not fit (score above %.3f)\n",
              static_cast<long long>(result.found.anomalous_pixels()), static_cast<long long>(scan.pixels()),
              result.found.threshold);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "train: %s\n", error.what());
  return 1;
}
