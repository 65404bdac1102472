#include "engine/specimen/simulate.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/detect/metrics.h"
#include "engine/detect/scores.h"
#include "engine/detect/thresholds.h"
#include "engine/prepare/preprocess.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

SimulationSettings small() {
  SimulationSettings settings;
  settings.height = 64;
  settings.width = 48;
  settings.seed = 7;
  return settings;
}

int64_t anomalous_pixels(const SimulatedImage& simulated) {
  return std::accumulate(simulated.truth.begin(), simulated.truth.end(), int64_t{0});
}

std::vector<double> mean_spectrum(const SpectrumImage& image) {
  std::vector<double> mean(static_cast<size_t>(image.energy.size));
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel)
    for (int64_t channel = 0; channel < image.energy.size; ++channel)
      mean[static_cast<size_t>(channel)] +=
          static_cast<double>(image.spectrum(pixel)[channel]) / static_cast<double>(image.pixels());
  return mean;
}

double mean_between(const SpectrumImage& image, const std::vector<double>& spectrum, double from_ev,
                    double to_ev) {
  ChannelWindow window = channels_within(image.energy, {from_ev, to_ev});
  return std::accumulate(spectrum.begin() + window.first, spectrum.begin() + window.last, 0.0) /
         static_cast<double>(window.size());
}

double maximum_between(const SpectrumImage& image, const std::vector<double>& spectrum, double from_ev,
                       double to_ev) {
  ChannelWindow window = channels_within(image.energy, {from_ev, to_ev});
  auto maximum = std::max_element(spectrum.begin() + window.first, spectrum.begin() + window.last);
  return image.energy.value(static_cast<double>(maximum - spectrum.begin()));
}

TEST(Simulate, HasThePublishedSpectrum) {
  SimulatedImage simulated = simulate(small());
  const SpectrumImage& image = simulated.image;
  ASSERT_EQ(image.counts.size(), 64u * 48u * 1340u);
  EXPECT_EQ(image.energy.offset, 420.0);
  EXPECT_EQ(image.energy.scale, 0.3);
  std::vector<double> mean = mean_spectrum(image);
  EXPECT_NEAR(mean_between(image, mean, 428, 432), 75, 2.5);
  EXPECT_NEAR(mean_between(image, mean, 798, 802), 22, 1);
  EXPECT_NEAR(maximum_between(image, mean, 530, 542), 538, 1);
  EXPECT_NEAR(maximum_between(image, mean, 543, 560), 546.5, 2);
  EXPECT_NEAR(maximum_between(image, mean, 700, 760), 717.5, 0.6);
  EXPECT_NEAR(maximum_between(image, mean, 725, 740), 730, 1.5);
  // L3 above what is beside it, less half of its own step.
  EXPECT_NEAR(mean_between(image, mean, 717.2, 717.8) - mean_between(image, mean, 708, 711), 26 + 4, 3);
  EXPECT_LT(mean_between(image, mean, 525, 531), mean_between(image, mean, 536, 540) - 15)
      << "O K onset at 534 eV";
}

// The difference of neighbours along a scan line has twice the noise's variance and little else.
TEST(Simulate, HasThePublishedNoise) {
  SimulationSettings settings = small();
  settings.anomalies = 0;
  SimulatedImage simulated = simulate(settings);
  const SpectrumImage& image = simulated.image;
  std::vector<double> mean = mean_spectrum(image);
  double n = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (int64_t channel = 0; channel < image.energy.size; ++channel) {
    std::vector<double> squares;
    for (int64_t pixel = 0; pixel + 1 < image.pixels(); pixel += 2) {
      double difference =
          static_cast<double>(image.spectrum(pixel)[channel] - image.spectrum(pixel + 1)[channel]);
      squares.push_back(0.5 * difference * difference);
    }
    double variance =
        std::accumulate(squares.begin(), squares.end(), 0.0) / static_cast<double>(squares.size());
    double counts = mean[static_cast<size_t>(channel)];
    n += 1, x += counts, y += variance, xx += counts * counts, xy += counts * variance;
  }
  const double slope = (n * xy - x * y) / (n * xx - x * x);
  EXPECT_NEAR(slope, 2.7, 0.1);
  EXPECT_NEAR(std::sqrt((y - slope * x) / n), 9, 0.3);
  EXPECT_LT(*std::min_element(image.counts.begin(), image.counts.end()), 0) << "counts are dark-corrected";
}

TEST(Simulate, NoiseCanBeCorrelatedAlongEnergyAndKeepsItsSize) {
  for (double correlation : {0.0, 0.3, 0.5}) {
    SimulationSettings settings = small();
    settings.correlation = correlation;
    SimulationSettings silent = settings;
    silent.noise = false;
    const SpectrumImage noisy = simulate(settings).image, expected = simulate(silent).image;
    double squares = 0, neighbours = 0, others = 0;
    for (int64_t pixel = 0; pixel < noisy.pixels(); ++pixel) {
      double before = 0, before_that = 0;
      for (int64_t e = 0; e < noisy.energy.size; ++e) {
        const auto level = static_cast<double>(expected.spectrum(pixel)[e]);
        const double z =
            (static_cast<double>(noisy.spectrum(pixel)[e]) - level) / std::sqrt(2.7 * level + 81);
        squares += z * z;
        neighbours += z * before;
        others += z * before_that;
        before_that = before;
        before = z;
      }
    }
    EXPECT_NEAR(squares / static_cast<double>(noisy.counts.size()), 1, 0.01);
    EXPECT_NEAR(neighbours / squares, correlation, 0.01);
    EXPECT_NEAR(others / squares, 0, 0.01);
  }
}

TEST(Simulate, VacuumAndUnscannedRowsLieBesideTheSpecimen) {
  SimulationSettings settings = small();
  settings.anomalies = 0.1;
  const SimulatedImage whole = simulate(settings);
  settings.vacuum = 0.25;      // 12 of 48 columns
  settings.unscanned = 0.125;  // 8 of 64 rows
  const SimulatedImage part = simulate(settings);
  const int64_t channels = whole.image.energy.size;
  double vacuum = 0, there = 0;
  for (int64_t pixel = 0; pixel < whole.image.pixels(); ++pixel) {
    const float *before = whole.image.spectrum(pixel), *now = part.image.spectrum(pixel);
    const auto i = static_cast<size_t>(pixel);
    if (pixel / 48 >= 56) {
      EXPECT_TRUE(std::all_of(now, now + channels, [](float counts) { return counts == 0; }));
      EXPECT_EQ(part.truth[i], 0);
    } else if (pixel % 48 >= 36) {
      vacuum += std::accumulate(now, now + channels, 0.0);
      there += std::accumulate(before, before + channels, 0.0);
      EXPECT_EQ(part.truth[i], 0);
    } else {
      ASSERT_TRUE(std::equal(now, now + channels, before)) << pixel;
      EXPECT_EQ(part.truth[i], whole.truth[i]);
    }
  }
  EXPECT_NEAR(vacuum / there, 0.01, 0.002);
}

TEST(Simulate, WithoutNoiseCountsAreWhatIsExpected) {
  SimulationSettings settings = small();
  settings.preset = Preset::gradient;
  const SpectrumImage noisy = simulate(settings).image;
  settings.noise = false;
  const SpectrumImage expected = simulate(settings).image;
  double sum = 0, squares = 0;
  for (size_t i = 0; i < noisy.counts.size(); ++i) {
    const auto mean = static_cast<double>(expected.counts[i]);
    const double z = (static_cast<double>(noisy.counts[i]) - mean) / std::sqrt(2.7 * mean + 81);
    sum += z;
    squares += z * z;
  }
  const auto n = static_cast<double>(noisy.counts.size());  // four million: 0.003 is six standard errors
  EXPECT_NEAR(sum / n, 0, 0.003);
  EXPECT_NEAR(squares / n, 1, 0.005);
}

// The figures of configs/film.json, and every other one that was measured on this film, depend on its bits.
// Weighted sums of all counts, as the first version of the simulator made them; changing one count by 0.1 is
// seen.
TEST(Simulate, MakesTheFilmItAlwaysMade) {
  auto weighted_sum = [](const SpectrumImage& image) {
    double sum = 0;
    for (uint64_t i = 0; i < image.counts.size(); ++i)
      sum += static_cast<double>(image.counts[i]) *
             static_cast<double>(i * 2654435761 % (uint64_t{1} << 32)) / 4294967296.0;
    return sum;
  };
  auto squared_indices = [](const std::vector<uint8_t>& truth) {
    int64_t sum = 0;
    for (size_t i = 0; i < truth.size(); ++i) sum += truth[i] ? static_cast<int64_t>(i * i) : 0;
    return sum;
  };
  SimulationSettings film;
  film.height = film.width = 96;
  film.channels = 256;
  film.energy_offset_ev = 660;
  film.exposure = 4;
  film.anomalies = 0.03;
  film.anomaly_radius = 1.5;
  film.seed = 1;
  SimulatedImage simulated = simulate(film);
  EXPECT_NEAR(weighted_sum(simulated.image), 135646502.5058, 0.01);
  EXPECT_EQ(anomalous_pixels(simulated), 279);
  EXPECT_EQ(squared_indices(simulated.truth), 6624722310);
  SimulationSettings other = small();
  other.anomalies = 17;
  other.anomaly_radius = 2;
  other.shift_ev = 6;
  simulated = simulate(other);
  EXPECT_NEAR(weighted_sum(simulated.image), 81831677.3588, 0.01);
  EXPECT_EQ(anomalous_pixels(simulated), 221);
  EXPECT_EQ(squared_indices(simulated.truth), 533221510);
}

TEST(Simulate, HasSlowThicknessAndStripes) {
  SimulationSettings settings = small();
  SimulatedImage simulated = simulate(settings);
  std::vector<double> total;
  for (int64_t pixel = 0; pixel < simulated.image.pixels(); ++pixel)
    total.push_back(
        std::accumulate(simulated.image.spectrum(pixel), simulated.image.spectrum(pixel) + 1340, 0.0));
  std::vector<double> sorted = total;
  std::sort(sorted.begin(), sorted.end());
  const double median = sorted[sorted.size() / 2];
  const double spread = (sorted[sorted.size() * 95 / 100] - sorted[sorted.size() * 5 / 100]) / median;
  EXPECT_GT(spread, 0.05);
  EXPECT_LT(spread, 0.25);
  EXPECT_GT(sorted.back() / median, 1.7) << "the hot pixel";
  EXPECT_LT(sorted[sorted.size() - 2] / median, 1.25) << "there is one";
  // Lines differ from their neighbours; columns, along which only the thickness changes, do not.
  double between_lines = 0, between_columns = 0;
  for (int64_t y = 0; y + 1 < 64; ++y) {
    double a = 0, b = 0;
    for (int64_t i = 0; i < 48; ++i) {
      a += total[static_cast<size_t>(y * 48 + i)];
      b += total[static_cast<size_t>((y + 1) * 48 + i)];
    }
    between_lines += (a - b) * (a - b) / (median * median * 48 * 48) / 63;
  }
  for (int64_t x = 0; x + 1 < 48; ++x) {
    std::vector<double> steps;  // the median, which the hot pixel does not move
    for (int64_t y = 0; y < 64; ++y)
      steps.push_back(total[static_cast<size_t>(y * 48 + x)] - total[static_cast<size_t>(y * 48 + x + 1)]);
    std::nth_element(steps.begin(), steps.begin() + 32, steps.end());
    between_columns += steps[32] * steps[32] / (median * median) / 47;
  }
  EXPECT_NEAR(std::sqrt(between_lines / 2), 0.015, 0.005);
  EXPECT_LT(std::sqrt(between_columns / 2), 0.007);
}

TEST(Simulate, MovesTheIronLinesOfAnomalousPixelsOnly) {
  SimulationSettings settings = small();
  settings.anomalies = 0.3;
  settings.shift_ev = 6;
  SimulatedImage shifted = simulate(settings);
  settings.anomalies = 0;
  SimulatedImage normal = simulate(settings);
  std::array<double, 2> outside{};
  double inside = 0;
  ChannelWindow iron = channels_within(normal.image.energy, {700, 745});
  int64_t higher = 0;
  for (int64_t pixel = 0; pixel < normal.image.pixels(); ++pixel) {
    const bool anomaly = shifted.truth[static_cast<size_t>(pixel)];
    double moved = 0;
    for (int64_t channel = 0; channel < 1340; ++channel) {
      double change =
          std::abs(shifted.image.spectrum(pixel)[channel] - normal.image.spectrum(pixel)[channel]);
      if (channel < iron.first || channel >= iron.last) outside[anomaly] = std::max(outside[anomaly], change);
      if (!anomaly) inside = std::max(inside, change);
      moved += (shifted.image.spectrum(pixel)[channel] - normal.image.spectrum(pixel)[channel]) *
               static_cast<float>(channel - 990);
    }
    if (anomaly) higher += moved > 0;
  }
  EXPECT_EQ(inside, 0);
  EXPECT_EQ(outside[0], 0);
  EXPECT_LT(outside[1], 1e-2);
  EXPECT_NEAR(static_cast<double>(higher) / static_cast<double>(anomalous_pixels(shifted)), 0.5, 0.06);
}

TEST(Simulate, PlacesAsManyAnomaliesAsAsked) {
  SimulationSettings settings = small();
  settings.channels = 16;
  settings.anomalies = 0.01;
  EXPECT_EQ(anomalous_pixels(simulate(settings)), 31);  // of 3072
  settings.anomalies = 17;
  EXPECT_EQ(anomalous_pixels(simulate(settings)), 17);
  settings.anomaly_radius = 2;  // discs of 13 pixels
  EXPECT_EQ(anomalous_pixels(simulate(settings)), 17 * 13);
  settings.anomalies = 0.05;
  EXPECT_EQ(anomalous_pixels(simulate(settings)), 12 * 13);
  settings.anomalies = 0;
  EXPECT_EQ(anomalous_pixels(simulate(settings)), 0);
}

TEST(Simulate, DependsOnTheSeedAndNotOnTheThreads) {
  SimulationSettings settings = small();
  settings.height = 20;
  settings.channels = 99;
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  SimulatedImage one = simulate(settings);
  omp_set_num_threads(3);
  SimulatedImage three = simulate(settings);
  omp_set_num_threads(before);
  EXPECT_EQ(one.image.counts, three.image.counts);
  EXPECT_EQ(one.truth, three.truth);
  settings.seed = 8;
  SimulatedImage other = simulate(settings);
  EXPECT_NE(one.image.counts, other.image.counts);
  EXPECT_NE(one.truth, other.truth);
}

TEST(Simulate, ScalesCountsWithExposureAndDispersion) {
  SimulationSettings settings = small();
  settings.channels = 100;
  settings.exposure = 3;
  settings.dispersion_ev = 0.6;
  SimulatedImage simulated = simulate(settings);
  EXPECT_NEAR(mean_between(simulated.image, mean_spectrum(simulated.image), 426, 434), 75 * 6, 15);
}

TEST(Simulate, RefusesWhatCannotBe) {
  auto refused = [](auto change) {
    SimulationSettings settings = small();
    settings.channels = 16;
    change(settings);
    EXPECT_THROW(simulate(settings), UserError);
  };
  refused([](auto& s) { s.height = 0; });
  refused([](auto& s) { s.width = -4; });
  refused([](auto& s) { s.channels = INT64_MAX; });
  refused([](auto& s) { s.dispersion_ev = 0; });
  refused([](auto& s) { s.energy_offset_ev = -100; });
  refused([](auto& s) { s.pixel_size_nm = 0; });
  refused([](auto& s) { s.exposure = std::nan(""); });
  refused([](auto& s) { s.shift_ev = std::nan(""); });
  refused([](auto& s) { s.anomalies = -1; });
  refused([](auto& s) { s.correlation = 0.51; });
  refused([](auto& s) { s.vacuum = 1; });
  refused([](auto& s) { s.unscanned = std::nan(""); });
  refused([](auto& s) { s.anomalies = 1e300; });
  refused([](auto& s) { s.anomaly_radius = 1e9; });
  refused([](auto& s) { s.anomaly_radius = 24; });  // wider than the image
  refused([](auto& s) {
    s.anomaly_radius = 5;
    s.anomalies = 100;  // 8100 of 3072 pixels
  });
}

// On a homogeneous film the mean spectrum is a good model: what it finds is what the specimen allows.
TEST(Simulate, MakesAnomaliesThatTheMeanSpectrumFinds) {
  SimulationSettings settings;
  settings.height = settings.width = 64;
  settings.channels = 256;
  settings.energy_offset_ev = 660;
  settings.exposure = 4;
  settings.anomalies = 0.03;
  settings.seed = 1;
  SimulatedImage simulated = simulate(settings);
  PreprocessConfig config;
  config.sigma = 0;
  config.xy_window = 1;
  SpectrumImage image = prepare(std::move(simulated.image), config, std::nullopt).image;
  std::vector<double> mean = mean_spectrum(image);
  std::vector<float> model;
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel)
    model.insert(model.end(), mean.begin(), mean.end());
  std::vector<float> scores = pearson_scores(image, model, channel_window(image.energy, {693.3, 730.5}));
  DetectionMetrics m = detection_metrics(scores, simulated.truth, otsu_threshold(scores));
  EXPECT_GT(m.f1, 0.9);
  EXPECT_GT(*m.roc_auc, 0.99);
}

// A likelihood ratio has the mean 1 where its denominator holds, whatever the defect; that holds for no other
// noise, no other spectrum and no other correlation than the simulator's.
TEST(Simulate, WhoKnowsTheDefectScoresByItsLikelihoodRatio) {
  for (const char* text : {"scattering:0.03", "extra-noise:0.08"})
    for (double correlation : {0.0, 0.3}) {
      SCOPED_TRACE(std::string(text) + " " + std::to_string(correlation));
      SimulationSettings settings = small();
      settings.channels = 192;
      settings.energy_offset_ev = 680;
      settings.correlation = correlation;
      settings.defects = {parse_defect(text)};
      const std::vector<float> scores =
          known_defect_scores(settings, simulate(without_defects(settings)).image);
      double sum = 0, squares = 0, least = 0;
      for (float score : scores) {
        const double ratio = std::exp(static_cast<double>(score));
        sum += ratio;
        squares += ratio * ratio;
        least = std::min(least, static_cast<double>(score));
      }
      const auto n = static_cast<double>(scores.size());
      const double mean = sum / n, error = std::sqrt((squares / n - mean * mean) / n);
      EXPECT_NEAR(mean, 1, 4 * error);
      EXPECT_LT(error, 0.1);
      EXPECT_LT(least, -0.5) << "the ratio tells nothing";
    }
}

TEST(Simulate, WhoKnowsTheDefectFindsIt) {
  SimulationSettings settings = small();
  settings.channels = 192;
  settings.energy_offset_ev = 680;
  settings.unscanned = 0.25;
  for (const char* text : {"fe-shift:4@30", "cosmic:4000@30"}) {
    settings.defects = {parse_defect(text)};
    const SimulatedImage simulated = simulate(settings);
    const std::vector<float> scores = known_defect_scores(settings, simulated.image);
    EXPECT_GT(detection_metrics(scores, simulated.truth, 0).average_precision, 0.95) << text;
    EXPECT_EQ(scores.back(), 0);
  }
  settings.defects.clear();
  EXPECT_THROW(known_defect_scores(settings, simulate(settings).image), std::logic_error);
}

}  // namespace
}  // namespace eelsvae
