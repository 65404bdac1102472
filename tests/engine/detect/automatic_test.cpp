#include "engine/detect/automatic.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

#include "engine/specimen/simulate.h"

namespace eelsvae {
namespace {

// Shot noise of so many counts per electron around a spectrum that falls from 200 counts to 100.
SpectrumImage shot_noise(int64_t height, int64_t width, float gain) {
  SpectrumImage image;
  image.y.size = height;
  image.x.size = width;
  image.energy = {"Energy loss", "eV", 400, 0.5, 64};
  std::mt19937 generator(1);
  for (int64_t i = 0; i < height * width * 64; ++i) {
    const double level = 200 - 100 * static_cast<double>(i % 64) / 63;
    std::poisson_distribution<int> electrons(level / static_cast<double>(gain));
    image.counts.push_back(gain * static_cast<float>(electrons(generator)));
  }
  return image;
}

TEST(Automatic, TellsTheElectronsFromTheNoise) {
  for (const float gain : {1.0f, 4.0f}) {
    const AutomaticChoice choice = choose_configuration(shot_noise(48, 48, gain));
    // Counts go from about 70 to 260 (gain 1) and to 40 and 330 (gain 4), in electrons of `gain` counts.
    EXPECT_NEAR(choice.config.loss.dose, gain == 1 ? 185 : 65, gain == 1 ? 40 : 20);
    EXPECT_EQ(choice.no_model, "");
    EXPECT_EQ(choice.config.tiles.image_size, 24);
    EXPECT_EQ(choice.config.tiles.sliding_window_stride, 12);
    EXPECT_EQ(choice.config.preprocess.despike, 8);
    EXPECT_FALSE(choice.config.data.energy_range);
    EXPECT_EQ(choice.reasons.size(), 1u);
  }
}

TEST(Automatic, TakesTilesThatTheImageHasRoomFor) {
  EXPECT_EQ(choose_configuration(shot_noise(100, 31, 1)).config.tiles.image_size, 12);
  EXPECT_NE(choose_configuration(shot_noise(1, 100, 1)).no_model, "");
  EXPECT_NE(choose_configuration(shot_noise(15, 100, 1)).no_model, "");
  EXPECT_EQ(choose_configuration(shot_noise(16, 100, 1)).no_model, "");
}

TEST(Automatic, LooksForAtomsInTheWrongPlace) {
  SimulationSettings settings;
  settings.preset = Preset::lattice;
  settings.height = settings.width = 64;
  settings.channels = 32;
  settings.energy_offset_ev = 690;
  settings.dispersion_ev = 1.2;
  const Config config = choose_configuration(simulate(settings).image).config;
  EXPECT_EQ(config.loss.reconstruction, ReconstructionLoss::poisson);
  EXPECT_EQ(config.detection.score, Score::joint);
  EXPECT_EQ(config.tiles.image_size, 16);
  EXPECT_EQ(config.tiles.sliding_window_stride, 4);
  EXPECT_EQ(config.detection.stride, 2);
  settings.preset = Preset::bfo;
  EXPECT_EQ(choose_configuration(simulate(settings).image).config.detection.score, Score::whitened);
}

TEST(Automatic, BeginsBeyondTheZeroLoss) {
  SpectrumImage image = shot_noise(24, 24, 1);
  image.energy.offset = -4;
  EXPECT_EQ(choose_configuration(image).config.data.energy_range, (std::array<double, 2>{5, 27.5}));
  image.energy.offset = -28;  // nothing beyond
  EXPECT_FALSE(choose_configuration(image).config.data.energy_range);
}

TEST(Automatic, LeavesSpikesWhereEverythingIsOne) {
  SpectrumImage image = shot_noise(24, 24, 1);
  std::mt19937 generator(2);
  for (size_t i = 0; i < image.counts.size() / 66; ++i)
    image.counts[generator() % image.counts.size()] += 5000;
  const AutomaticChoice choice = choose_configuration(image);
  EXPECT_EQ(choice.config.preprocess.despike, 0);
  EXPECT_EQ(choice.reasons.front(),
            "preprocess.despike 0: spikes are left as they are, for too much would pass for one");
}

}  // namespace
}  // namespace eelsvae
