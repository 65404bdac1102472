#include "engine/specimen/defects.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <set>

#include "tests/engine/simulated_spectra.h"
#include "tests/engine/spectra.h"

namespace eelsvae {
namespace {

const std::vector<std::string> every_kind = {
    "fe-shift:2",     "o-shift:1.5", "ti-shift:1",     "white-lines:0.4", "broadening:0.5", "intensity:0.2",
    "background:0.1", "oxygen:0.3",  "scattering:0.5", "cosmic:4000",     "foreign:0.3",    "extra-noise:3"};

SimulationSettings hetero() {
  SimulationSettings settings;
  settings.preset = Preset::hetero;
  settings.height = 40;
  settings.width = 44;
  settings.exposure = 100;
  settings.seed = 3;
  return settings;
}

std::vector<double> change(const std::string& defect, int sign = 1, const PixelMaterial& material = {}) {
  return difference(expected_spectrum(material, {parse_defect(defect)}, sign), expected_spectrum(material));
}

double moment(const std::vector<double>& counts, int power) {
  double sum = 0;
  for (size_t c = 0; c < counts.size(); ++c)
    sum += counts[c] * std::pow(published_axis.value(static_cast<double>(c)) - 720, power);
  return sum;
}

TEST(Defects, ChangeTheirPixelsAndNoOthers) {
  SimulationSettings settings = hetero();
  settings.anomalies = 0.2;
  for (const std::string& kind : every_kind) settings.defects.push_back(parse_defect(kind));
  const SimulatedImage with = simulate(settings);
  const SimulatedImage without = simulate(without_defects(settings));
  std::array<int64_t, 13> seen{};
  for (int64_t pixel = 0; pixel < with.image.pixels(); ++pixel) {
    const uint8_t label = with.labels[static_cast<size_t>(pixel)];
    EXPECT_EQ(with.truth[static_cast<size_t>(pixel)], label != 0);
    ++seen[label];
    const bool same = std::equal(with.image.spectrum(pixel), with.image.spectrum(pixel) + 1340,
                                 without.image.spectrum(pixel));
    EXPECT_EQ(same, label == 0) << "label " << int{label} << " at " << pixel;
  }
  for (size_t k = 1; k <= 12; ++k) EXPECT_EQ(seen[k], 29) << k;  // 0.2 / 12 of 1760 pixels
  ASSERT_EQ(with.defect_names.size(), 12u);
  EXPECT_EQ(with.defect_names[0], "fe-shift 2 eV");
  EXPECT_EQ(with.defect_names[10], "foreign 0.3 Cr per Fe");
  EXPECT_EQ(std::count(without.truth.begin(), without.truth.end(), 0), with.image.pixels());
  EXPECT_NE(with.image.metadata.find(R"({"label": 2, "kind": "o-shift", "strength": 1.5, "unit": "eV")"),
            std::string::npos)
      << with.image.metadata;
}

TEST(Defects, ASecondRecordingHasOtherNoiseOnly) {
  SimulationSettings settings = hetero();
  settings.exposure = 1e6;
  const SimulatedImage one = simulate(settings);
  settings.noise_seed = settings.seed;
  EXPECT_EQ(simulate(settings).image.counts, one.image.counts);
  settings.noise_seed = 99;
  const SimulatedImage two = simulate(settings);
  EXPECT_EQ(one.labels, two.labels);
  int64_t equal = 0;
  for (size_t i = 0; i < one.image.counts.size(); ++i) {
    equal += one.image.counts[i] == two.image.counts[i];
    // Noise is 5e-4 of the counts at 800 eV; stripes, waves and gain, hundreds of times as much, are the
    // same.
    ASSERT_NEAR(one.image.counts[i] / two.image.counts[i], 1, 5e-3);
  }
  EXPECT_LT(equal, static_cast<int64_t>(one.image.counts.size() / 100));
}

TEST(Defects, AShiftMovesTheLinesAndDoesNotWrap) {
  const std::vector<double> lines = difference(
      expected_spectrum({}), expected_spectrum({1, 0, 0, 0}));  // any spectrum to check the sum with
  ASSERT_FALSE(lines.empty());
  const double area = 26 * 3.4 + 10 * 4;  // of both lines, in units of the area of a Gaussian
  const double gauss = std::sqrt(std::acos(-1.0) / (4 * std::log(2.0))) / 0.3;
  for (int sign : {1, -1}) {
    const std::vector<double> moved = change("fe-shift:12", sign);
    EXPECT_NEAR(total(moved), 0, 1e-6) << "nothing is lost";
    EXPECT_NEAR(moment(moved, 1), sign * 12 * area * gauss, 1e-3 * area * gauss);
    // L2, moved down, comes to lie on the place of L3.
    EXPECT_NEAR(at_ev(moved, 717.5), sign > 0 ? -26 : -26 + 9.7, 0.3);
    EXPECT_GT(at_ev(moved, 717.5 + sign * 12), 15);
    EXPECT_NEAR(at_ev(moved, 717.5 - sign * 28), 0, 1e-6) << "nothing enters on the other side";
    EXPECT_NEAR(at_ev(moved, 600), 0, 1e-9);
  }
}

TEST(Defects, BroadeningKeepsTheAreaAndWhiteLinesTheirSum) {
  const std::vector<double> broad = change("broadening:0.5");
  EXPECT_NEAR(total(broad), 0, 1e-6);
  EXPECT_GT(moment(broad, 2), 0);
  EXPECT_NEAR(at_ev(broad, 717.5), -26 / 3.0, 0.2) << "two thirds as high";
  const std::vector<double> ratio = change("white-lines:0.5"), less = change("white-lines:0.5", -1);
  EXPECT_NEAR(total(ratio), 0, 1e-6);
  EXPECT_GT(at_ev(ratio, 717.5), 0);
  EXPECT_LT(at_ev(ratio, 730), 0);
  EXPECT_LT(at_ev(less, 717.5), 0);
  EXPECT_NEAR((26 + at_ev(ratio, 717.5)) / (10 + at_ev(ratio, 730)) / 2.6, 1.5, 0.01);
  EXPECT_NEAR((26 + at_ev(less, 717.5)) / (10 + at_ev(less, 730)) / 2.6, 0.5, 0.01);
}

TEST(Defects, OxygenIntensityBackgroundAndForeignElement) {
  const std::vector<double> film = expected_spectrum({});
  const std::vector<double> none = expected_spectrum({}, {parse_defect("oxygen:1")});
  for (double ev : {500.0, 534.0, 538.0, 546.5, 600.0})
    EXPECT_NEAR(at_ev(none, ev),
                75 * std::pow(published_axis.value(std::lround(published_axis.index(ev))) / 430, -2.7), 1e-6);
  EXPECT_NEAR(at_ev(change("oxygen:0.3"), 538) / at_ev(change("oxygen:1"), 538), 0.3, 1e-9);
  EXPECT_NEAR(total(expected_spectrum({}, {parse_defect("intensity:0.2")}, -1)) / total(film), 0.8, 1e-12);

  const std::vector<double> steep = change("background:0.1");
  EXPECT_GT(steep.front(), 0);
  EXPECT_NEAR(steep[670], 0, 0.01) << "the middle stays";
  EXPECT_LT(steep.back(), 0);
  EXPECT_NEAR(steep.front() / (75 * std::pow(420.0 / 430, -2.7)), std::pow(620.85 / 420, 0.1) - 1, 1e-6);

  const std::vector<double> chromium = change("foreign:0.25");
  EXPECT_NEAR(at_ev(chromium, 560), 0, 1e-6);
  EXPECT_GT(at_ev(chromium, 577.5), 8);
  EXPECT_GT(at_ev(chromium, 586), 4);

  EXPECT_NEAR(at_ev(change("o-shift:2"), 500), 0, 1e-9);
  EXPECT_LT(at_ev(change("o-shift:2"), 535), -3);
  EXPECT_NEAR(at_ev(change("ti-shift:2", 1, {1, 0, 0, 0}), 500), 0, 1e-9);
  EXPECT_GT(at_ev(change("ti-shift:2", 1, {1, 0, 0, 0}), 468), 10);
}

// Defects change the spectrum that the pixel has: half the Fe, half the change; a thicker place, more of it.
TEST(Defects, FollowTheMaterialOfTheirPixel) {
  for (const char* defect : {"fe-shift:2", "broadening:0.5", "white-lines:0.3"}) {
    const double film = at_ev(change(defect), 717.5);
    EXPECT_NEAR(at_ev(change(defect, 1, {0, 0.5, 0, 0}), 717.5), 0.5 * film, 1e-9) << defect;
    EXPECT_NEAR(at_ev(change(defect, 1, {0.5, 0, 0, 0}), 717.5), 0.5 * film, 1e-9) << defect;
    EXPECT_NEAR(at_ev(change(defect, 1, {1, 0, 0, 0}), 717.5), 0, 1e-9) << defect;
  }
  const std::vector<double> none = expected_spectrum({0, 0, 0.5, 0}, {parse_defect("oxygen:1")});
  EXPECT_NEAR(at_ev(none, 538), 75 * std::pow(published_axis.value(393) / 430, -2.7), 1e-6)
      << "damage cannot take more oxygen than there is";
}

TEST(Defects, ScatteringAddsToThatOfTheSpecimen) {
  const PixelMaterial half = {0, 0, 0, 0.5}, one = {0, 0, 0, 1};
  const std::vector<double> added = expected_spectrum(half, {parse_defect("scattering:0.5")});
  const std::vector<double> thick = expected_spectrum(one);
  // Twice as thick is twice as bright, besides; both leave out less than a thousandth of the electrons.
  for (size_t c = 0; c < added.size(); ++c) EXPECT_NEAR(2 * added[c] / thick[c], 1, 1e-3);
  const std::vector<double> film = expected_spectrum({}),
                            scattered = expected_spectrum({}, {parse_defect("scattering:0.5")});
  EXPECT_NEAR(total(scattered) / total(film), 1.05, 0.05);
  EXPECT_LT(at_ev(scattered, 717.5) - at_ev(scattered, 708), 0.7 * (at_ev(film, 717.5) - at_ev(film, 708)));
  // The most there can be: white lines are all but gone.
  const std::vector<double> most = expected_spectrum({0, 0, 0, 3}, {parse_defect("scattering:3")});
  EXPECT_NEAR(at_ev(most, 717.5) / at_ev(most, 708), 0.98, 0.03);
}

TEST(Defects, ACosmicRayIsOneOrTwoChannels) {
  SimulationSettings settings = hetero();
  settings.defects = {parse_defect("cosmic:4000@300")};
  const SimulatedImage with = simulate(settings);
  const SimulatedImage without = simulate(without_defects(settings));
  std::array<int64_t, 4> channels{};
  for (int64_t pixel = 0; pixel < with.image.pixels(); ++pixel) {
    if (!with.truth[static_cast<size_t>(pixel)]) continue;
    size_t changed = 0;
    float most = 0;
    for (int64_t c = 0; c < 1340; ++c) {
      const float more = with.image.spectrum(pixel)[c] - without.image.spectrum(pixel)[c];
      changed += more != 0;
      most = std::max(most, more);
    }
    ++channels[std::min<size_t>(changed, 3)];
    EXPECT_NEAR(most, 4000, 0.01);
  }
  EXPECT_EQ(channels[0], 0);
  EXPECT_EQ(channels[3], 0);
  EXPECT_NEAR(static_cast<double>(channels[2]), 150, 40);
}

// The noise's draws are the same whatever its variance: four times the variance is the noise once more. What
// is then left of two recordings, their mean, says how large the noise ought to be.
TEST(Defects, ExtraNoiseMultipliesTheVariance) {
  SimulationSettings settings = hetero();
  settings.exposure = 1;
  settings.defects = {parse_defect("extra-noise:3@300")};
  const SimulatedImage four = simulate(settings);
  settings.defects = {parse_defect("extra-noise:8@300")};
  const SimulatedImage nine = simulate(settings);
  const SimulatedImage one = simulate(without_defects(settings));
  ASSERT_EQ(four.labels, nine.labels);
  double values = 0, squares = 0;
  for (int64_t pixel = 0; pixel < one.image.pixels(); ++pixel) {
    if (!four.truth[static_cast<size_t>(pixel)]) continue;
    for (int64_t c = 0; c < 1340; ++c) {
      const auto count = static_cast<double>(one.image.spectrum(pixel)[c]);
      const double noise = static_cast<double>(four.image.spectrum(pixel)[c]) - count;
      ASSERT_NEAR(static_cast<double>(nine.image.spectrum(pixel)[c]), count + 2 * noise, 1e-3);
      const double mean = count - noise;
      values += 1;
      squares += noise * noise / (2.7 * mean + 9 * 9);
    }
  }
  ASSERT_EQ(values, 300 * 1340);
  EXPECT_NEAR(squares / values, 1, 4 * std::sqrt(2 / values));
}

DefectPlaces places_of(const std::string& defect, int64_t height = 60, int64_t width = 50,
                       double anomalies = 0.01) {
  return place_defects({parse_defect(defect)}, anomalies, make_specimen({}, height, width, 1, 2), 2);
}

std::vector<std::pair<int64_t, int64_t>> pixels_of(const DefectPlaces& places, int64_t width) {
  std::vector<std::pair<int64_t, int64_t>> result;
  for (size_t i = 0; i < places.labels.size(); ++i)
    if (places.labels[i])
      result.push_back({static_cast<int64_t>(i) / width, static_cast<int64_t>(i) % width});
  return result;
}

TEST(Defects, HaveTheirShapesAndNumbers) {
  EXPECT_EQ(pixels_of(places_of("fe-shift:1"), 50).size(), 30u);
  EXPECT_EQ(pixels_of(places_of("fe-shift:1@0.1"), 50).size(), 300u);
  EXPECT_EQ(pixels_of(places_of("fe-shift:1@12"), 50).size(), 12u);
  EXPECT_EQ(pixels_of(places_of("fe-shift:1:disc@4"), 50).size(), 4u * 9);
  EXPECT_EQ(pixels_of(places_of("fe-shift:1:disc:2@4"), 50).size(), 4u * 13);
  EXPECT_EQ(pixels_of(places_of("fe-shift:1:line:5@7"), 50).size(), 7u * 11);
  EXPECT_EQ(pixels_of(places_of("fe-shift:1:lattice:8@7"), 50).size(), 7u * 13);

  // Lines run in each of four directions, straight.
  std::set<std::pair<int64_t, int64_t>> directions;
  for (int64_t seed = 0; seed < 40; ++seed) {
    const DefectPlaces one = place_defects({parse_defect("oxygen:1:line:4@1")}, 0,
                                           make_specimen({}, 30, 30, 1, 0), static_cast<uint64_t>(seed));
    const auto line = pixels_of(one, 30);
    ASSERT_EQ(line.size(), 9u);
    const std::pair<int64_t, int64_t> step = {line[1].first - line[0].first, line[1].second - line[0].second};
    for (size_t i = 0; i < line.size(); ++i) {
      EXPECT_EQ(line[i].first, line[0].first + static_cast<int64_t>(i) * step.first);
      EXPECT_EQ(line[i].second, line[0].second + static_cast<int64_t>(i) * step.second);
    }
    directions.insert(step);
  }
  EXPECT_EQ(directions, (std::set<std::pair<int64_t, int64_t>>{{0, 1}, {1, -1}, {1, 0}, {1, 1}}));

  // Atomic columns of a single pixel stand on one lattice, a ninth of the image here.
  const auto sites = pixels_of(places_of("oxygen:1:lattice:3@200"), 50);
  EXPECT_EQ(sites.size(), 200u);
  for (const auto& [y, x] : sites) {
    EXPECT_EQ((y - sites[0].first) % 3, 0);
    EXPECT_EQ((x - sites[0].second) % 3, 0);
  }
  EXPECT_NE(user_error_of([] { places_of("oxygen:1:lattice:3@0.5"); }).find("of 1500 anomalies"),
            std::string::npos);
}

TEST(Defects, ShareANumberAndDoNotOverlap) {
  std::vector<Defect> defects = {parse_defect("oxygen:1:disc"), parse_defect("intensity:0.1"),
                                 parse_defect("background:0.2@9"), parse_defect("oxygen:0.5:line:1")};
  const Specimen specimen = make_specimen({}, 40, 40, 1, 2);
  auto numbers = [&](double anomalies) {
    const DefectPlaces places = place_defects(defects, anomalies, specimen, 8);
    std::vector<int64_t> result;
    for (uint8_t label = 1; label <= 4; ++label)
      result.push_back(std::count(places.labels.begin(), places.labels.end(), label));
    return result;
  };
  EXPECT_EQ(numbers(11), (std::vector<int64_t>{4 * 9, 4, 9, 3 * 3}));  // the first get what is left over
  EXPECT_EQ(numbers(0.3), (std::vector<int64_t>{18 * 9, 160, 9, 53 * 3}));
  EXPECT_EQ(numbers(0), (std::vector<int64_t>{0, 0, 9, 0}));
}

TEST(Defects, StandWhereTheirElementIs) {
  const Specimen specimen = make_specimen(preset_parameters(Preset::interface), 50, 50, 1, 0);
  const DefectPlaces iron = place_defects({parse_defect("broadening:1")}, 0.2, specimen, 1);
  const DefectPlaces titanium = place_defects({parse_defect("ti-shift:1")}, 0.2, specimen, 1);
  for (size_t i = 0; i < iron.labels.size(); ++i) {
    EXPECT_TRUE(!iron.labels[i] || specimen.materials[i].substrate <= 0.5) << i;
    EXPECT_TRUE(!titanium.labels[i] || specimen.materials[i].substrate >= 0.5) << i;
  }
  EXPECT_EQ(pixels_of(iron, 50).size(), 500u);
  EXPECT_NE(user_error_of([] { places_of("ti-shift:1"); }).find("0 of 30 anomalies"), std::string::npos);
  EXPECT_NE(user_error_of([] { places_of("ti-shift:1"); }).find("Ti is at home"), std::string::npos);
}

TEST(Defects, OutOfSightAreRefused) {
  auto message = [](const std::string& defect, double offset_ev, int64_t channels,
                    Preset preset = Preset::bfo) {
    SimulationSettings settings;
    settings.preset = preset;
    settings.height = settings.width = 20;
    settings.energy_offset_ev = offset_ev;
    settings.channels = channels;
    settings.defects = {parse_defect(defect)};
    return user_error_of([&] { simulate(settings); });
  };
  const std::string refused = "has no effect on the axis";
  EXPECT_NE(message("fe-shift:2", 420, 256).find(refused), std::string::npos);
  EXPECT_NE(message("broadening:0.5", 740, 256).find(refused), std::string::npos);
  EXPECT_NE(message("oxygen:0.5", 420, 300).find(refused), std::string::npos);
  EXPECT_NE(message("foreign:0.5", 420, 400).find(refused), std::string::npos);
  EXPECT_NE(message("ti-shift:0.5", 500, 400, Preset::interface).find(refused), std::string::npos);
  for (const char* seen :
       {"fe-shift:2", "oxygen:0.5", "intensity:0.1", "background:0.1", "cosmic:100", "extra-noise:1"})
    EXPECT_EQ(message(seen, 660, 256), "no error") << seen;
}

TEST(Defects, AreReadFromText) {
  const Defect defect = parse_defect("white-lines:0.25:lattice:6@0.02");
  EXPECT_EQ(defect.kind, DefectKind::white_lines);
  EXPECT_EQ(defect.strength, 0.25);
  EXPECT_EQ(defect.shape, DefectShape::lattice);
  EXPECT_EQ(defect.radius, 6);
  EXPECT_EQ(defect.amount, 0.02);
  EXPECT_EQ(parse_defect("cosmic:3e3").strength, 3000);
  EXPECT_FALSE(parse_defect("cosmic:3e3").amount);
  auto wrong = [](const std::string& text, const std::string& part) {
    const std::string message = user_error_of([&] { parse_defect(text); });
    EXPECT_NE(message.find(part), std::string::npos) << text << ": " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos);
  };
  wrong("fe-shft:2", "'fe-shft'");
  wrong("", "there are fe-shift");
  wrong("fe-shift", "KIND:STRENGTH");
  wrong("fe-shift:2:disc:1:9", "KIND:STRENGTH");
  wrong("fe-shift:two", "'two'");
  wrong("fe-shift:nan", "'nan'");
  wrong("fe-shift:2:square", "'square'");
  wrong("fe-shift:2:pixel:3", "a pixel has no radius");
  wrong("fe-shift:2:disc:x", "'x'");
  wrong("fe-shift:2@", "@");
  wrong("fe-shift:2@-1", "negative");
  wrong("fe-shift:0", "above 0");
  wrong("fe-shift:-2", "above 0");
  wrong("oxygen:1.5", "at most at 1");
  wrong("extra-noise:101", "at most at 100");
  wrong("oxygen:1:line:0.5", "line");
  wrong("oxygen:1:lattice:1", "lattice");
  EXPECT_NE(user_error_of([] { places_of("oxygen:1:disc:40@1"); }).find("do not fit"), std::string::npos);
  EXPECT_NE(user_error_of([] { places_of("oxygen:1:disc:-1@1"); }).find("do not fit"), std::string::npos);
  EXPECT_NE(user_error_of([] { places_of("oxygen:1:lattice:1e18@1"); }).find("do not fit"),
            std::string::npos);
}

}  // namespace
}  // namespace eelsvae
