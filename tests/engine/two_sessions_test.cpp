#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "engine/detect/job.h"
#include "engine/prepare/preprocess.h"
#include "engine/specimen/simulate.h"
#include "engine/train/job.h"
#include "tests/kernels/plan_cache_folder.h"

// Two users of the library in one process, each with a backend, do not see each other.
namespace eelsvae {
namespace {

struct Session {
  BackendOffer offer;
  uint64_t seed = 0;
  std::vector<float> found;  // scores, reconstructed spectra

  void run() {
    SimulationSettings film;
    film.height = film.width = 16;
    film.channels = 64;
    film.energy_offset_ev = 700;
    film.seed = seed;
    Config config;
    config.tiles = {.image_size = 8, .sliding_window_stride = 4, .anomaly_indices = {}};
    config.model = {
        .channels = {16, 16, 32, 32}, .hidden = 16 + 8 * static_cast<int64_t>(seed), .latent_dim = 4};
    config.training.epochs = 3;
    config.training.batch_size = 2;
    config.training.seed = seed;
    const std::unique_ptr<Backend> backend = offer.create(offer.variants.front());
    const PreparedImage prepared =
        prepare(simulate(film).image, config.preprocess, std::nullopt, nullptr, std::nullopt, backend.get());
    TrainingJob job(offer, config, prepared.image);
    job.start();
    BestWeights best(job.model());
    job.run(best);
    const TrainedModel trained = job.finish(best);
    const ExpectationSource source = [&](const SpectrumImageView& image) {
      return expect_from(*trained.model, image, config.detection);
    };
    const DetectionResult result = run_detection(
        prepared.image, source, {SourceDescription::Kind::model, config.tiles.image_size, {}, false},
        config.preprocess, config.detection);
    found = result.found.scores;
    const CountArray& spectra = result.expectation.spectra;
    found.insert(found.end(), spectra.begin(), spectra.end());
  }
};

using TwoSessions = PlanCacheFolderTest;

TEST_F(TwoSessions, InTwoThreadsHaveTheBitsOfEachAlone) {
  for (const char* precision : {"fp32", "bf16"}) {
    SCOPED_TRACE(precision);
    const BackendOffer offer = find_backend("cpu", precision);
    Session first{offer, 1, {}}, second{offer, 2, {}};
    first.run();
    second.run();
    ASSERT_NE(first.found, second.found);
    for (int round = 0; round < 3; ++round) {
      Session again{offer, 1, {}}, beside{offer, 2, {}};
      std::thread other([&] { beside.run(); });
      again.run();
      other.join();
      EXPECT_EQ(again.found, first.found);
      EXPECT_EQ(beside.found, second.found);
    }
  }
}

// Both measure which kernels are the fastest. Whoever is first says so for both.
TEST_F(TwoSessions, ThatChooseKernelsAtTheSameTimeChooseTheSame) {
  const BackendOffer offer = find_backend("cpu", "auto");
  Session first{offer, 1, {}}, second{offer, 1, {}};
  std::thread other([&] { second.run(); });
  first.run();
  other.join();
  EXPECT_EQ(first.found, second.found);
}

}  // namespace
}  // namespace eelsvae
