#include "engine/prepare/spikes.h"

#include <gtest/gtest.h>
#include <omp.h>

#include "engine/image/excluded.h"
#include "engine/specimen/simulate.h"
#include "tests/engine/spectra.h"

namespace eelsvae {
namespace {

SpectrumImage film(uint64_t seed, int64_t side = 48) {
  SimulationSettings settings;
  settings.height = settings.width = side;
  settings.anomalies = 0;
  settings.seed = seed;
  return simulate(settings).image;
}

struct Hit {
  int64_t y, x, channel;
  float counts;
};

void inject(SpectrumImage& image, const Hit& hit) {
  image.spectrum(hit.y * image.x.size + hit.x)[hit.channel] += hit.counts;
}

// In the simulated film a count of 75 has 17 counts of noise and a gain of 2.7, so that the threshold of 8
// deviations is about 8 * 17 + 16 * 2.7 = 180 counts above the local median; twice that is found everywhere.
constexpr float sure = 360;

TEST(Spikes, AreFoundWhereTheyWerePut) {
  SpectrumImage image = film(1);
  const SpectrumImage clean = image;
  std::vector<Hit> hits;
  std::mt19937 generator(4);
  for (int64_t i = 0; i < 60; ++i)
    hits.push_back({i * 13 % 48, i * 29 % 48, 3 + i * 22, sure * static_cast<float>(1 + i % 7)});
  hits.push_back({0, 0, 0, sure});  // in a corner, at both ends of the axis
  hits.push_back({47, 47, 1339, sure});
  hits.push_back({20, 20, 992, sure});      // on the Fe L3 line
  hits.push_back({20, 21, 992, 2 * sure});  // and in the pixel beside it
  for (const Hit& hit : hits) inject(image, hit);
  const std::vector<Spike> found = remove_spikes(image, 8);
  for (const Hit& hit : hits) {
    const auto spike = std::find_if(found.begin(), found.end(), [&](const Spike& s) {
      return s.y == hit.y && s.x == hit.x && s.channel == hit.channel;
    });
    ASSERT_NE(spike, found.end()) << hit.y << " " << hit.x << " " << hit.channel;
    const int64_t pixel = hit.y * 48 + hit.x;
    EXPECT_EQ(spike->old_counts, clean.spectrum(pixel)[hit.channel] + hit.counts);
    EXPECT_EQ(spike->new_counts, image.spectrum(pixel)[hit.channel]);
    EXPECT_NEAR(spike->energy_ev, 420 + 0.3 * static_cast<double>(hit.channel), 1e-9);
    // A line between two neighbours is within a few deviations of the noise.
    EXPECT_NEAR(spike->new_counts, clean.spectrum(pixel)[hit.channel], 110);
  }
  // Nothing else was touched, but a neighbour of a spike now and then.
  EXPECT_LE(found.size(), hits.size() + 3);
  size_t changed = 0;
  for (size_t i = 0; i < image.counts.size(); ++i) changed += image.counts[i] != clean.counts[i];
  EXPECT_EQ(changed, found.size());
  EXPECT_TRUE(std::is_sorted(found.begin(), found.end(), [](const Spike& a, const Spike& b) {
    return std::tie(a.y, a.x, a.channel) < std::tie(b.y, b.x, b.channel);
  }));
}

TEST(Spikes, OfSeveralChannelsGoAsAWhole) {
  SpectrumImage image = film(2);
  for (Hit hit : {Hit{10, 10, 400, 300}, {10, 10, 401, 5000}, {10, 10, 402, 900}, {10, 10, 403, 250}})
    inject(image, hit);
  const std::vector<Spike> found = remove_spikes(image, 8);
  ASSERT_EQ(found.size(), 4u);
  const float* spectrum = image.spectrum(10 * 48 + 10);
  const float step = (spectrum[404] - spectrum[399]) / 5;
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(found[static_cast<size_t>(i)].channel, 400 + i);
    EXPECT_NEAR(spectrum[400 + i], spectrum[399] + step * static_cast<float>(i + 1), 1e-3);
  }
}

// White lines, thickness, stripes, a hot pixel: all of it stays at the usual threshold.
TEST(Spikes, WhiteLinesAreNotSpikes) {
  for (double exposure : {1.0, 100.0}) {
    SimulationSettings settings;
    settings.height = settings.width = 64;
    settings.exposure = exposure;
    settings.anomalies = 0.01;
    settings.anomaly_radius = 0;
    settings.seed = 11;
    SpectrumImage image = simulate(settings).image;
    const CountArray before = image.counts;
    EXPECT_EQ(remove_spikes(image, 8).size(), 0u) << exposure;
    EXPECT_EQ(image.counts, before);
  }
  // On a coarse axis, where a white line is three channels wide.
  SimulationSettings coarse;
  coarse.height = coarse.width = 64;
  coarse.channels = 400;
  coarse.dispersion_ev = 1;
  coarse.exposure = 100;
  coarse.anomalies = 0;
  SpectrumImage image = simulate(coarse).image;
  EXPECT_EQ(remove_spikes(image, 8).size(), 0u);
}

// Sharper than a channel, drifting by more than its width, one region three times as bright as the other, and
// an isolated bright pixel.
TEST(Spikes, AZeroLossPeakIsNotASpike) {
  SpectrumImage image = image_of(20, 20, {"E", "eV", -10, 0.1, 300}, [](int64_t y, int64_t x, double ev) {
    const double drift = 0.08 * std::sin(static_cast<double>(2 * y + 3 * x));
    const double bright = (y == 5 && x == 5) ? 5 : x < 10 ? 3 : 1;
    return bright * (1e5 * gaussian(ev - drift, 0, 0.08) + 100 * gaussian(ev, 15, 3) + 5);
  });
  add_noise(image, 3);
  const CountArray before = image.counts;
  EXPECT_EQ(remove_spikes(image, 8).size(), 0u);
  EXPECT_EQ(image.counts, before);
  image.spectrum(7 * 20 + 7)[200] += 500;
  EXPECT_EQ(remove_spikes(image, 8).size(), 1u);
}

// Below one false replacement in a million counts at 5 deviations, and none in ten million at 8.
TEST(Spikes, NoiseIsNotASpike) {
  struct Case {
    double counts, gain, readout;
  };
  for (const Case& c : {Case{0.02, 1, 0},
                        {0.3, 1, 0},
                        {2, 1, 0},
                        {50, 1, 0},
                        {1e5, 1, 0},
                        {40, 2.7, 9},
                        {3, 0.37, 0},
                        {0, 1, 5}}) {
    SpectrumImage image = image_of(40, 40, {"E", "eV", 100, 1, 700},
                                   [&](auto, auto, double ev) { return c.counts * std::pow(ev / 100, -2); });
    add_noise(image, 12, c.gain, c.readout);
    SpectrumImage again = image;
    EXPECT_LE(remove_spikes(image, 5).size(), 1u) << c.counts << " " << c.gain;
    EXPECT_EQ(remove_spikes(again, 8).size(), 0u) << c.counts << " " << c.gain;
  }
}

TEST(Spikes, NoiseIsMeasured) {
  SpectrumImage image = film(5);
  const CountNoise noise = estimate_count_noise(image);
  EXPECT_NEAR(std::sqrt(noise.variance(30)), std::sqrt(2.7 * 30 + 81), 2.5);
  EXPECT_NEAR(std::sqrt(noise.variance(75)), std::sqrt(2.7 * 75 + 81), 3);
}

TEST(Spikes, ImagesWithoutNoiseStayAsTheyAre) {
  for (double counts : {0.0, 5.0}) {
    SpectrumImage image = image_of(3, 4, {"E", "eV", 0, 1, 32}, [&](auto...) { return counts; });
    EXPECT_TRUE(remove_spikes(image, 8).empty());
    image.spectrum(5)[17] = 400;
    const std::vector<Spike> found = remove_spikes(image, 8);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].new_counts, static_cast<float>(counts));
  }
  SpectrumImage curve = image_of(4, 4, {"E", "eV", 0, 1, 64}, [](int64_t y, int64_t x, double ev) {
    return static_cast<double>(4 + y + x) * (50 + 1000 * gaussian(ev, 30, 1.5));
  });
  EXPECT_TRUE(remove_spikes(curve, 8).empty());
}

TEST(Spikes, LineScansAndShortAxes) {
  SpectrumImage line = image_of(1, 40, {"E", "eV", 0, 1, 64}, [](int64_t, int64_t, double ev) {
    return 50 + 1000 * gaussian(ev, 30, 1.5);
  });
  add_noise(line, 6);
  line.spectrum(0)[50] += 800;
  line.spectrum(22)[3] += 800;
  EXPECT_EQ(remove_spikes(line, 8).size(), 2u);
  for (int64_t channels : {1, 2, 5}) {
    SpectrumImage stub = image_of(3, 3, {"E", "eV", 0, 1, channels}, [](auto...) { return 4.0; });
    EXPECT_TRUE(remove_spikes(stub, 8).empty());
  }
}

TEST(Spikes, ExcludedPixelsHaveNoSay) {
  // Beside white lines: excluded pixels are zero, and a neighbourhood of zeros must not make spikes of them.
  SpectrumImage image = film(10, 24);
  image.excluded.assign(static_cast<size_t>(image.pixels()), 0);
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel) {
    if (pixel / 24 % 3 == 1 || pixel % 24 % 3 == 1) image.excluded[static_cast<size_t>(pixel)] = 1;
  }
  fill_excluded(image.excluded, image.counts, 0);
  inject(image, {1, 1, 700, 5000});  // excluded
  inject(image, {2, 2, 600, 2 * sure});
  const std::vector<Spike> found = remove_spikes(image, 8);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].y, 2);
  EXPECT_EQ(found[0].channel, 600);

  SpectrumImage alone = film(11, 3);  // a pixel with excluded ones around it
  alone.excluded.assign(9, 1);
  alone.excluded[4] = 0;
  fill_excluded(alone.excluded, alone.counts, 0);
  inject(alone, {1, 1, 600, 5000});
  EXPECT_TRUE(remove_spikes(alone, 8).empty());
}

TEST(Spikes, UserErrorsSayWhatWouldBeRight) {
  SpectrumImage pixel = image_of(1, 1, {"E", "eV", 0, 1, 64}, [](auto...) { return 4.0; });
  EXPECT_NE(user_error_of([&] { remove_spikes(pixel, 8); }).find("preprocess.despike"), std::string::npos);
  SpectrumImage noisy = film(8);
  const CountArray before = noisy.counts;
  const std::string message = user_error_of([&] { remove_spikes(noisy, 0.01); });
  EXPECT_NE(message.find("use a larger threshold"), std::string::npos) << message;
  EXPECT_EQ(noisy.counts, before);
}

TEST(Spikes, DoNotDependOnTheNumberOfThreads) {
  const int before = omp_get_max_threads();
  SpectrumImage one = film(9), three = one;
  for (SpectrumImage* image : {&one, &three})
    for (int64_t i = 0; i < 30; ++i) inject(*image, {i, 47 - i, 40 * i, 250});
  omp_set_num_threads(1);
  const std::vector<Spike> a = remove_spikes(one, 5);
  omp_set_num_threads(3);
  const std::vector<Spike> b = remove_spikes(three, 5);
  EXPECT_GE(a.size(), 30u);
  EXPECT_EQ(a, b);
  EXPECT_EQ(one.counts, three.counts);
  omp_set_num_threads(before);
}

}  // namespace
}  // namespace eelsvae
