#include "engine/detect/job.h"

#include <gtest/gtest.h>

#include <atomic>

#include "engine/detect/baselines.h"
#include "engine/prepare/preprocess.h"
#include "engine/specimen/simulate.h"

namespace eelsvae {
namespace {

TEST(DetectionJob, StopsBetweenItsSteps) {
  SimulationSettings film;
  film.height = film.width = 16;
  film.channels = 64;
  film.energy_offset_ev = 700;
  const Config config;
  const PreparedImage prepared = prepare(simulate(film).image, config.preprocess, std::nullopt);
  const Baseline mean(prepared.image, {}, parse_baseline("mean"));
  std::atomic<bool> asked = false;
  int asked_for = 0;
  const ExpectationSource source = [&](const SpectrumImageView& image) {
    asked = ++asked_for == 1;  // by somebody who cannot be heard before this step ends
    return expect_from(mean, image);
  };
  const SourceDescription description{SourceDescription::Kind::mean, 0, {}, false};
  EXPECT_THROW(run_detection(prepared.image, source, description, config.preprocess, config.detection, {},
                             StopToken(asked)),
               Interrupted);
  EXPECT_EQ(asked_for, 1) << "went on";
  asked = false;
  EXPECT_NO_THROW(run_detection(prepared.image, source, description, config.preprocess, config.detection, {},
                                StopToken(asked)));
}

}  // namespace
}  // namespace eelsvae
