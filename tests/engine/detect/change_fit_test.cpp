#include "engine/detect/change_fit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "engine/detect/baselines.h"
#include "engine/detect/change_words.h"
#include "engine/detect/detection.h"
#include "engine/detect/scorer.h"
#include "engine/prepare/preprocess.h"
#include "engine/short_number.h"
#include "engine/specimen/simulate.h"

namespace eelsvae {
namespace {

// A defect that there is a word for, in films of this exposure.
struct Case {
  const char* defect;
  std::vector<ChangeKind> kinds;  // any of them is the right word
  double exposure = 1;
  Preset preset = Preset::bfo;
};

// The value that a word has for it; none where only its kind is known.
std::optional<double> value_of(const Defect& defect, int sign) {
  constexpr double iron_l3_fwhm_ev = 3.4;  // docs/specimens.md
  switch (defect.kind) {
    case DefectKind::fe_shift:
    case DefectKind::o_shift:
    case DefectKind::ti_shift:
    case DefectKind::background:
      return sign * defect.strength;
    case DefectKind::broadening:
      return iron_l3_fwhm_ev * defect.strength;
    case DefectKind::oxygen:
      return 1 - defect.strength;
    case DefectKind::white_lines:
    case DefectKind::intensity:
      return 1 + sign * defect.strength;
    default:
      return std::nullopt;
  }
}

// A recording, and what nobody knows of it.
struct Film {
  Defect defect;
  SimulatedImage recorded;
  SpectrumImage changed, normal;  // without noise
  std::vector<int8_t> signs;

  double variance(int64_t pixel, int64_t e) const {  // docs/specimens.md
    return 81 + 2.7 * static_cast<double>(normal.spectrum(pixel)[e]);
  }
  // The sign of the anomaly that the pixels show; 0 where they show none, two of opposite ones, or the hot
  // pixel.
  int sign_of(const std::vector<int64_t>& pixels) const {
    int least = 1, most = -1;
    for (const int64_t pixel : pixels) {
      if (pixel == recorded.hot_pixel) return 0;
      const auto i = static_cast<size_t>(pixel);
      if (!recorded.truth[i]) continue;
      least = std::min<int>(least, signs[i]);
      most = std::max<int>(most, signs[i]);
    }
    return least == most ? least : 0;
  }
  // How many standard deviations the change of their sum is large for who knows it.
  double significance(const std::vector<int64_t>& pixels) const {
    double squares = 0;
    for (int64_t e = 0; e < normal.energy.size; ++e) {
      double change = 0, noise = 0;
      for (const int64_t pixel : pixels) {
        change += static_cast<double>(changed.spectrum(pixel)[e] - normal.spectrum(pixel)[e]);
        noise += variance(pixel, e);
      }
      squares += change * change / noise;
    }
    return std::sqrt(squares);
  }
};

Film film_of(const Case& c, uint64_t seed) {
  SimulationSettings settings;
  settings.preset = c.preset;
  settings.height = settings.width = 56;
  settings.channels = 480;
  settings.dispersion_ev = 0.8;
  settings.exposure = c.exposure;
  settings.seed = seed;
  settings.defects = {parse_defect(c.defect)};
  settings.defects[0].amount = 10;
  Film film;
  film.defect = settings.defects[0];
  film.recorded = simulate(settings);
  settings.noise = false;
  film.changed = simulate(settings).image;
  film.normal = simulate(without_defects(settings)).image;
  const Specimen specimen = make_specimen(preset_parameters(c.preset), settings.height, settings.width,
                                          preset_pixel_nm(c.preset), seed);
  film.signs = place_defects(settings.defects, settings.anomalies, specimen, seed).signs;
  return film;
}

// What words said of regions above eight standard deviations.
struct Said {
  int regions = 0, right = 0;
  std::vector<double> pulls;  // (said - true) / uncertainty, of those with the right word

  void add(const Case& c, const Film& film, const std::vector<int64_t>& pixels,
           const Explanation& explanation) {
    constexpr double least = 8;
    const int sign = film.sign_of(pixels);
    if (sign == 0 || film.significance(pixels) < least) return;
    ++regions;
    if (explanation.changes.empty()) return;
    const Change& first = explanation.changes.front();
    if (std::ranges::count(c.kinds, first.kind) == 0) return;
    ++right;
    if (const auto value = value_of(film.defect, sign))
      pulls.push_back((first.value - *value) / first.uncertainty);
  }
  // "47 of 48, pulls 0.12 +- 1.16".
  std::string text() const {
    std::string text = std::to_string(right) + " of " + std::to_string(regions);
    if (!pulls.empty()) text += ", pulls " + short_number(mean(), 2) + " +- " + short_number(spread(), 3);
    return text;
  }
  double mean() const { return std::reduce(pulls.begin(), pulls.end()) / static_cast<double>(pulls.size()); }
  // Their standard deviation.
  double spread() const {
    double squares = 0;
    for (const double pull : pulls) squares += (pull - mean()) * (pull - mean());
    return std::sqrt(squares / static_cast<double>(pulls.size()));
  }
};

// What is expected and the noise are known exactly. Ratios change by so much here that they are no linear
// function of the counts, and their errors are not normal: of these only the word is asked for.
TEST(ChangeFit, NamesWhatChangedAndByHowMuch) {
  for (const Case& c : std::vector<Case>{{"fe-shift:1.2:disc", {ChangeKind::shift}},
                                         {"o-shift:2.5:disc", {ChangeKind::shift}, 2},
                                         {"ti-shift:0.9:disc", {ChangeKind::shift}, 1, Preset::interface},
                                         {"broadening:0.8:disc", {ChangeKind::width}, 2},
                                         {"oxygen:0.25:disc:1", {ChangeKind::amount}},
                                         {"white-lines:0.6:disc:2", {ChangeKind::ratio}, 4},
                                         {"foreign:0.3:disc", {ChangeKind::peak, ChangeKind::edge}},
                                         {"cosmic:600", {ChangeKind::spike}},
                                         {"intensity:0.08:disc", {ChangeKind::intensity}},
                                         {"background:0.1:disc", {ChangeKind::background}, 3}}) {
    Said said;
    for (uint64_t seed = 400; seed < 405; ++seed) {
      const Film film = film_of(c, seed);
      ResidualModel model;
      model.noise = {81, 2.7, std::vector<float>(480, 1.0f)};
      model.mean.assign(480, 0);
      const std::vector<float> ones(film.recorded.truth.size(), 1);
      for (const Region& region :
           find_regions(film.recorded.image, film.normal.counts, ones, film.recorded.truth))
        said.add(c, film, region.pixels,
                 explain(film.recorded.image, film.normal.counts, region.pixels, model,
                         1 / static_cast<double>(region.pixels.size()), {0, 480}));
    }
    RecordProperty(c.defect, said.text());
    EXPECT_GE(said.regions, 40) << c.defect;
    EXPECT_GE(said.right, 0.85 * said.regions) << c.defect << ", of " << said.regions;
    if (said.pulls.empty() || c.kinds.front() == ChangeKind::ratio) continue;
    EXPECT_GT(said.spread(), 0.8) << c.defect;
    EXPECT_LT(said.spread(), 1.25) << c.defect;
  }
}

// The whole way, with the mean spectrum as what is expected.
TEST(ChangeFit, DetectionsSayWhatTheyFound) {
  for (const Case& c : std::vector<Case>{{"fe-shift:2:disc:1", {ChangeKind::shift}},
                                         {"o-shift:3:disc:1", {ChangeKind::shift}, 2},
                                         {"broadening:1:pixel", {ChangeKind::width}, 10},
                                         {"oxygen:0.4:disc:1", {ChangeKind::amount}, 2},
                                         {"white-lines:0.8:disc:1", {ChangeKind::ratio}, 4},
                                         {"foreign:0.6:disc:1", {ChangeKind::peak, ChangeKind::edge}},
                                         {"cosmic:600", {ChangeKind::spike}},
                                         {"background:0.4:disc:1", {ChangeKind::background}, 2}}) {
    Said said;
    for (uint64_t seed = 400; seed < 404; ++seed) {
      Film film = film_of(c, seed);
      PreprocessConfig preprocess;
      preprocess.sigma = 0;
      preprocess.xy_window = 1;
      preprocess.scaling_method = Scaling::none;
      const SpectrumImage prepared = prepare(film.recorded.image, preprocess, std::nullopt).image;
      const Expectation mean = expect_from(Baseline(prepared, {}, parse_baseline("mean")), prepared);
      for (const Region& region : detect(prepared, mean, preprocess, {}).regions)
        said.add(c, film, region.pixels, region.explanation);
    }
    RecordProperty(c.defect, said.text());
    EXPECT_GE(said.regions, 15) << c.defect;
    EXPECT_GE(said.right, 0.8 * said.regions) << c.defect << ", of " << said.regions;
    const ChangeKind kind = c.kinds.front();
    if (kind != ChangeKind::shift && kind != ChangeKind::width && kind != ChangeKind::amount) continue;
    EXPECT_GT(said.spread(), 0.75) << c.defect;
    EXPECT_LT(said.spread(), 1.25) << c.defect;
  }
}

// A Gaussian peak on a background, in noise of variance 1.
struct Made {
  SpectrumImage image;
  std::vector<float> expected;
  ResidualModel model;

  explicit Made(double offset_ev = 500, const std::string& units = "eV") {
    constexpr int64_t channels = 200;
    image.y.size = image.x.size = 1;
    image.energy = {"Energy loss", units, offset_ev, 0.5, channels};
    for (int64_t e = 0; e < channels; ++e) expected.push_back(expected_at(static_cast<double>(e)));
    image.counts.assign(expected.begin(), expected.end());
    model.noise = {1, 0, std::vector<float>(channels, 1.0f)};
    model.mean.assign(channels, 0);
  }
  static double peak_at(double e) { return 60 * std::exp(-(e - 100) * (e - 100) / 50); }
  static float expected_at(double e, double moved = 0) {
    return static_cast<float>(100 * std::pow(1 + e / 1000, -3) + peak_at(e - moved));
  }
  Explanation explained(double noise = 1) const {
    return explain(image, expected, std::vector<int64_t>{0}, model, noise, {0, image.energy.size});
  }
};

TEST(ChangeFit, AShiftWithoutNoiseIsExact) {
  Made made;
  for (size_t e = 0; e < 200; ++e) made.image.counts[e] = Made::expected_at(static_cast<double>(e), 1.5);
  const Explanation one = made.explained(), fourth = made.explained(0.25);
  ASSERT_EQ(one.changes.size(), 1u);
  const Change& change = one.changes[0];
  EXPECT_EQ(change.kind, ChangeKind::shift);
  EXPECT_NEAR(change.value, 0.75, 0.01) << "eV";
  EXPECT_NEAR(change.last_ev, 550, 0.5);
  EXPECT_LT(one.chi_squared_after, 0.02 * one.chi_squared_before);
  EXPECT_EQ(one.channels, 200);
  // The error of a matched filter: one over the norm of the derivative, 60 counts sqrt(sqrt(pi) / (2 * 5))
  // per channel of 0.5 eV.
  EXPECT_NEAR(change.uncertainty, 0.5 / (60 * std::sqrt(std::sqrt(M_PI) / 10)), 0.0015);
  ASSERT_EQ(fourth.changes.size(), 1u);
  EXPECT_NEAR(fourth.changes[0].uncertainty, change.uncertainty / 2, 1e-4);
}

TEST(ChangeFit, ABroadeningOverManyChannelsIsExact) {
  Made made;  // from a sigma of 5 channels to one of 7
  for (size_t e = 0; e < 200; ++e) {
    const double u = static_cast<double>(e) - 100;
    made.image.counts[e] += static_cast<float>(60.0 * 5 / 7 * std::exp(-u * u / 98) - Made::peak_at(u + 100));
  }
  const Explanation explanation = made.explained();
  ASSERT_EQ(explanation.changes.size(), 1u);
  EXPECT_EQ(explanation.changes[0].kind, ChangeKind::width);
  EXPECT_NEAR(explanation.changes[0].value, 0.5 * 2 * 2.3548, 0.1) << "eV";
  EXPECT_EQ(explanation.changes[0].peaks, 1);
  EXPECT_LT(explanation.chi_squared_after, 0.02 * explanation.chi_squared_before);
}

// Electrons counted one by one: the lowest count, 0, is that of many channels, and nothing is clipped.
TEST(ChangeFit, FewCountsAreNotClippedOnes) {
  constexpr int64_t side = 40, channels = 200;
  std::mt19937 random(7);
  SpectrumImage image;
  image.y.size = image.x.size = side;
  image.energy = {"Energy loss", "eV", 500, 0.5, channels};
  Expectation expectation;
  std::vector<int64_t> stronger;
  for (int64_t pixel = 0; pixel < side * side; ++pixel) {
    const bool changed = pixel / side < 5 && pixel % side < 5;
    if (changed) stronger.push_back(pixel);
    for (int64_t e = 0; e < channels; ++e) {
      const double u = static_cast<double>(e - 100) / 5, peak = 3 * std::exp(-u * u / 2),
                   background = 2 * std::pow(1 + static_cast<double>(e) / 400, -3);
      std::poisson_distribution<int> count(background + (changed ? peak : 0));
      image.counts.push_back(static_cast<float>(count(random)));
      expectation.spectra.push_back(static_cast<float>(background));
    }
  }
  PreprocessConfig preprocess;
  preprocess.sigma = 0;
  preprocess.xy_window = 1;
  preprocess.scaling_method = Scaling::none;
  const DetectionConfig config;
  Scorer scorer(image, expectation, preprocess, config);
  // The peak has up to four times the counts, and the variance, of what is expected.
  const Explanation explanation = explain(image, expectation.spectra, stronger, scorer.residuals(),
                                          4 / static_cast<double>(stronger.size()), scorer.window());
  ASSERT_FALSE(explanation.changes.empty());
  EXPECT_EQ(explanation.changes[0].kind, ChangeKind::peak) << sentence(explanation, {});
  EXPECT_NEAR(explanation.changes[0].value, 3 / (2 * std::pow(1.25, -3)), 0.5) << sentence(explanation, {});
}

TEST(ChangeFit, NormalVariationIsUncertain) {
  Made made;
  std::vector<double> peak;
  for (size_t e = 0; e < 200; ++e) {
    peak.push_back(Made::peak_at(static_cast<double>(e)));
    made.image.counts[e] += static_cast<float>(2 * peak[e]);
  }
  const double norm = std::sqrt(std::inner_product(peak.begin(), peak.end(), peak.begin(), 0.0));
  for (const double value : peak) made.model.components.push_back(static_cast<float>(value / norm));
  made.model.strengths = {0.04 * norm * norm};  // a fifth of the peak comes and goes
  const Explanation explanation = made.explained();
  ASSERT_EQ(explanation.changes.size(), 1u);
  EXPECT_EQ(explanation.changes[0].kind, ChangeKind::amount);
  EXPECT_NEAR(explanation.changes[0].value, 3, 0.05);
  EXPECT_NEAR(explanation.changes[0].uncertainty, 0.2, 0.01);
  EXPECT_NEAR(explanation.chi_squared_before, 100, 5);
}

TEST(ChangeFit, SaysThatNothingExplainsIt) {
  Made made;
  for (size_t e = 0; e < 200; ++e) made.image.counts[e] += e % 2 ? 2.0f : -2.0f;  // what no change looks like
  const Explanation zigzag = made.explained();
  EXPECT_TRUE(zigzag.changes.empty());
  EXPECT_NEAR(zigzag.chi_squared_after, 800, 10);
  EXPECT_EQ(Made(500, "channels").explained().channels, 0) << "no energies";
  EXPECT_EQ(Made(-20).explained().channels, 0) << "the zero-loss peak";
}

TEST(ChangeFit, OfAScaledExpectationTheScaleIsFree) {
  Made made;  // an edge that is not expected raises the sum, and with it what is expected
  for (size_t e = 150; e < 200; ++e) made.image.counts[e] += 20;
  const double sum = std::reduce(made.image.counts.begin(), made.image.counts.end(), 0.0),
               expected = std::reduce(made.expected.begin(), made.expected.end(), 0.0);
  for (float& value : made.expected) value *= static_cast<float>(sum / expected);
  const Explanation explanation = made.explained(50);
  ASSERT_EQ(explanation.changes.size(), 1u);
  EXPECT_EQ(explanation.changes[0].kind, ChangeKind::edge);
  EXPECT_NEAR(explanation.changes[0].first_ev, 575, 1);
}

}  // namespace
}  // namespace eelsvae
