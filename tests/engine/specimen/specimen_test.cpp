#include "engine/specimen/specimen.h"

#include <gtest/gtest.h>

#include <map>
#include <utility>

#include <cmath>

#include "engine/image/energy_axis.h"
#include "tests/engine/simulated_spectra.h"
#include "tests/engine/spectra.h"

namespace eelsvae {
namespace {

// Bright enough for noise, 2e-4 of the counts, to be of no consequence.
SimulatedImage bright(Preset preset, int64_t height = 40, int64_t width = 40) {
  SimulationSettings settings;
  settings.preset = preset;
  settings.height = height;
  settings.width = width;
  settings.exposure = 1e6;
  settings.anomalies = 0;
  settings.seed = 5;
  return simulate(settings);
}

// Mean counts of a pixel between two energies, at the published exposure.
double counts_between(const SpectrumImage& image, int64_t y, int64_t x, double from_ev, double to_ev) {
  const ChannelWindow window = channels_within(image.energy, {from_ev, to_ev});
  const float* spectrum = image.spectrum(y * image.x.size + x);
  return std::accumulate(spectrum + window.first, spectrum + window.last, 0.0) / 1e6 /
         static_cast<double>(window.size());
}

// Of what rises above the two sides of a window.
double centroid(const SpectrumImage& image, int64_t y, double from_ev, double to_ev) {
  const ChannelWindow window = channels_within(image.energy, {from_ev, to_ev});
  std::vector<double> line(static_cast<size_t>(window.size()));
  for (int64_t x = 0; x < image.x.size; ++x)
    for (size_t c = 0; c < line.size(); ++c)
      line[c] +=
          static_cast<double>(image.spectrum(y * image.x.size + x)[window.first + static_cast<int64_t>(c)]);
  double weight = 0, sum = 0;
  const double floor = 0.5 * (line.front() + line.back());
  for (size_t c = 0; c < line.size(); ++c) {
    const double above = std::max(0.0, line[c] - 1.1 * floor);
    weight += above;
    sum += above * image.energy.value(static_cast<double>(window.first) + static_cast<double>(c));
  }
  return sum / weight;
}

double titanium(const SpectrumImage& image, int64_t y, int64_t x) {
  return counts_between(image, y, x, 459.5, 461) / counts_between(image, y, x, 448, 453);
}
double iron(const SpectrumImage& image, int64_t y, int64_t x) {
  return counts_between(image, y, x, 717, 718) / counts_between(image, y, x, 704, 709);
}
double manganese(const SpectrumImage& image, int64_t y, int64_t x) {
  return counts_between(image, y, x, 642, 643) / counts_between(image, y, x, 630, 636);
}

TEST(Specimen, InterfaceHasTitaniumOnOneSideAndIronOnTheOther) {
  const SpectrumImage image = bright(Preset::interface).image;
  for (int64_t y = 0; y < 40; ++y) {
    EXPECT_LT(titanium(image, y, 2), 1) << y;
    EXPECT_GT(titanium(image, y, 37), 1.4) << y;
    EXPECT_GT(iron(image, y, 2), 1.8) << y;
    EXPECT_LT(iron(image, y, 37), 1) << y;
  }
}

TEST(Specimen, InterfaceHasItsWidthAndAngle) {
  SpecimenParameters p = preset_parameters(Preset::interface);
  p.interface_angle_deg = 0;
  p.interface_width_nm = 10;
  Specimen specimen = make_specimen(p, 3, 41, 0.5, 0);
  EXPECT_NEAR(specimen.materials[41 + 10].substrate, 0.1, 1e-3);  // 5 nm left of the middle
  EXPECT_NEAR(specimen.materials[41 + 20].substrate, 0.5, 1e-12);
  EXPECT_NEAR(specimen.materials[41 + 30].substrate, 0.9, 1e-3);
  EXPECT_EQ(specimen.materials[10].substrate, specimen.materials[41 + 10].substrate);
  p.interface_angle_deg = 45;
  specimen = make_specimen(p, 41, 41, 0.5, 0);
  for (size_t i = 0; i < 41; ++i) EXPECT_NEAR(specimen.materials[i * 41 + 40 - i].substrate, 0.5, 1e-12);
  p.interface_width_nm = 0;
  specimen = make_specimen(p, 41, 40, 0.5, 0);
  for (const PixelMaterial& m : specimen.materials) EXPECT_TRUE(m.substrate == 0 || m.substrate == 1);
}

// At a share of the way across the image, whatever its direction.
TEST(Specimen, InterfaceHasItsPosition) {
  SpecimenParameters p = preset_parameters(Preset::interface);
  p.interface_angle_deg = 0;
  p.interface_width_nm = 2;
  p.interface_position = 0.25;
  auto substrate = [&](int64_t y, int64_t x) {
    return make_specimen(p, 21, 41, 0.5, 0).materials[static_cast<size_t>(y * 41 + x)].substrate;
  };
  EXPECT_EQ(substrate(7, 10), 0.5);
  EXPECT_NEAR(substrate(7, 12), 0.9, 1e-3) << "a nanometre on";
  EXPECT_NEAR(substrate(7, 0), 0, 1e-6);
  p.interface_angle_deg = 90;
  EXPECT_EQ(substrate(5, 0), 0.5);
  EXPECT_EQ(substrate(5, 40), 0.5);
  EXPECT_NEAR(substrate(7, 3), 0.9, 1e-3);
  p.interface_angle_deg = 180;
  EXPECT_EQ(substrate(7, 30), 0.5);
  EXPECT_NEAR(substrate(7, 28), 0.9, 1e-3);
  // Its ends are corners, where the direction is oblique.
  p.interface_angle_deg = 30;
  p.interface_position = 0;
  EXPECT_NEAR(substrate(0, 0), 0.5, 1e-12);
  EXPECT_GT(substrate(0, 1), 0.5);
  p.interface_position = 1;
  EXPECT_NEAR(substrate(20, 40), 0.5, 1e-12);
  EXPECT_LT(substrate(20, 39), 0.5);
}

// By a quarter turn of the direction the map is exchanged along y and x, by half of one it is mirrored.
TEST(Specimen, DirectionsTurnTheMap) {
  const int64_t height = 6, width = 9;
  SpecimenParameters p;
  p.interface = true;
  p.manganese = {0.1, 0.8};
  p.thickness = {0.4, 1.1};
  auto turned = [&](double degrees, int64_t rows, int64_t columns) {
    p.interface_angle_deg = p.manganese_direction_deg = p.thickness_direction_deg = degrees;
    return make_specimen(p, rows, columns, 1, 0).materials;
  };
  auto expect_same = [](const PixelMaterial& a, const PixelMaterial& b) {
    EXPECT_DOUBLE_EQ(a.substrate, b.substrate);
    EXPECT_DOUBLE_EQ(a.manganese, b.manganese);
    EXPECT_DOUBLE_EQ(a.thickness, b.thickness);
  };
  const std::vector<PixelMaterial> right = turned(0, height, width), left = turned(180, height, width),
                                   down = turned(90, width, height), up = turned(-90, width, height);
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      const PixelMaterial& material = right[static_cast<size_t>(y * width + x)];
      const double share = static_cast<double>(x) / static_cast<double>(width - 1);
      EXPECT_DOUBLE_EQ(material.manganese, 0.1 + 0.7 * share);
      EXPECT_DOUBLE_EQ(material.thickness, 0.4 + 0.7 * share);
      expect_same(left[static_cast<size_t>(y * width + width - 1 - x)], material);
      expect_same(down[static_cast<size_t>(x * height + y)], material);
      expect_same(up[static_cast<size_t>((width - 1 - x) * height + y)], material);
    }
  // Obliquely from corner to corner, the same along every line across.
  const std::vector<PixelMaterial> oblique = turned(225, height, width);
  EXPECT_DOUBLE_EQ(oblique.back().manganese, 0.1);
  EXPECT_DOUBLE_EQ(oblique.front().manganese, 0.8);
  EXPECT_DOUBLE_EQ(oblique[3 * 9 + 4].manganese, oblique[4 * 9 + 3].manganese);
  // As the presets have them.
  const SpecimenParameters hetero = preset_parameters(Preset::hetero);
  EXPECT_EQ(hetero.manganese_direction_deg, 0);
  EXPECT_EQ(hetero.thickness_direction_deg, 90);
  EXPECT_EQ(hetero.interface_position, 0.5);
}

TEST(Specimen, GradientExchangesIronForManganese) {
  const SpectrumImage image = bright(Preset::gradient).image;
  EXPECT_GT(iron(image, 20, 0), 1.8);
  EXPECT_LT(iron(image, 20, 39), 1.05);
  EXPECT_LT(manganese(image, 20, 0), 1);
  EXPECT_GT(manganese(image, 20, 39), 1.8);
  const Specimen specimen = make_specimen(preset_parameters(Preset::gradient), 1, 5, 1, 0);
  EXPECT_EQ(specimen.materials[0].manganese, 0);
  EXPECT_EQ(specimen.materials[1].manganese, 0.25);
  EXPECT_EQ(specimen.materials[4].manganese, 1);
}

TEST(Specimen, DriftMovesEachLine) {
  const SpectrumImage image = bright(Preset::drift, 80, 4).image;
  const Specimen specimen = make_specimen(preset_parameters(Preset::drift), 80, 4, 1, 5);
  const auto [low, high] = std::minmax_element(specimen.drift_ev.begin(), specimen.drift_ev.end());
  EXPECT_DOUBLE_EQ(std::max(-*low, *high), 1.5);
  EXPECT_NEAR(std::accumulate(specimen.drift_ev.begin(), specimen.drift_ev.end(), 0.0), 0, 1e-9);
  for (int64_t y = 0; y < 80; ++y)
    EXPECT_NEAR(centroid(image, y, 710, 725) - 717.5, specimen.drift_ev[static_cast<size_t>(y)], 0.1) << y;
  // Homogeneous films drift by a third of a channel and no more.
  const Specimen film = make_specimen(preset_parameters(Preset::bfo), 80, 4, 1, 5);
  for (double drift : film.drift_ev) EXPECT_LE(std::abs(drift), 0.1);
}

TEST(Specimen, WedgeHasPluralScattering) {
  const PixelMaterial thin = {0, 0, 0, 0.3}, thick = {0, 0, 0, 1.2};
  const std::vector<double> a = expected_spectrum(thin), b = expected_spectrum(thick);
  EXPECT_GT(total(b) / total(a), 4);  // the thickness, and electrons that lost energy once more
  EXPECT_LT(total(b) / total(a), 5.5);
  auto line = [](const std::vector<double>& s) { return at_ev(s, 717.5) / at_ev(s, 706); };
  // L3 again, a plasmon higher, against itself.
  auto again = [](const std::vector<double>& s) {
    return (at_ev(s, 741.5) - at_ev(s, 762)) / (at_ev(s, 717.5) - at_ev(s, 708));
  };
  EXPECT_LT(line(b), 0.85 * line(a));
  EXPECT_GT(again(b), 2 * again(a));
  const SpectrumImage image = bright(Preset::wedge).image;
  EXPECT_GT(counts_between(image, 39, 20, 600, 620), 3.5 * counts_between(image, 0, 20, 600, 620));
  // At the reference thickness counts are nearly those of the film as published.
  const std::vector<double> film = expected_spectrum({}), half = expected_spectrum({0, 0, 0, 0.5});
  EXPECT_NEAR(total(half) / total(film), 1.1, 0.1);
}

TEST(Specimen, DamageGrowsAlongTheScan) {
  const Specimen specimen = make_specimen(preset_parameters(Preset::damage), 30, 20, 1, 0);
  EXPECT_EQ(specimen.materials.front().damage, 0);
  EXPECT_DOUBLE_EQ(specimen.materials.back().damage, 0.5);
  for (size_t i = 1; i < specimen.materials.size(); ++i)
    EXPECT_GT(specimen.materials[i].damage, specimen.materials[i - 1].damage);
  const std::vector<double> fresh = expected_spectrum({}),
                            damaged = expected_spectrum(specimen.materials.back());
  EXPECT_NEAR(at_ev(fresh, 538) - at_ev(damaged, 538), 5, 0.02) << "half of the first peak of O K";
  EXPECT_NEAR(at_ev(fresh, 717.5) - at_ev(damaged, 717.5), 7.0, 0.1);
  EXPECT_GT(at_ev(damaged, 714.3), at_ev(fresh, 714.3) + 3) << "Fe2+ lies lower";
  EXPECT_NEAR(at_ev(fresh, 600), at_ev(damaged, 600), 1e-9);
}

// Wherever the axis is cut, the rest is as it was; plural scattering comes from losses off the axis, too.
TEST(Specimen, ACutAxisShowsTheSameSpectrum) {
  const PixelMaterial mixed = {0.3, 0.4, 0.2, 0.6};
  const std::vector<double> whole = expected_spectrum(mixed);
  const Axis cut = {"Energy loss", "eV", 660, 0.3, 256};
  const std::vector<double> part = expected_spectrum(mixed, {}, 1, cut);
  for (size_t c = 0; c < part.size(); ++c) EXPECT_NEAR(part[c], whole[c + 800], 2e-4 * whole[c + 800]) << c;
}

TEST(Specimen, HeteroHasItAll) {
  SimulationSettings settings;
  settings.preset = Preset::hetero;
  settings.height = 20;
  settings.width = 24;
  settings.anomalies = 0.05;
  settings.defects = {parse_defect("fe-shift:2"), parse_defect("scattering:0.4")};
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const SimulatedImage one = simulate(settings);
  omp_set_num_threads(2);
  const SimulatedImage two = simulate(settings);
  omp_set_num_threads(before);
  EXPECT_EQ(one.image.counts, two.image.counts);
  EXPECT_EQ(one.labels, two.labels);
  const SpectrumImage image = bright(Preset::hetero).image;
  EXPECT_LT(titanium(image, 20, 2), 1);
  EXPECT_GT(titanium(image, 20, 37), 1.2);
  EXPECT_GT(iron(image, 20, 2), 1.5);
  EXPECT_GT(counts_between(image, 39, 2, 600, 620), 1.3 * counts_between(image, 0, 2, 600, 620));
}

TEST(Specimen, IsDescribedInTheMetadata) {
  SimulationSettings settings;
  settings.preset = Preset::hetero;
  settings.height = settings.width = 8;
  settings.anomalies = 0;
  settings.specimen = preset_parameters(Preset::hetero);
  settings.specimen->interface_position = 0.375;
  settings.specimen->thickness_direction_deg = -22.5;
  const std::string metadata = simulate(settings).image.metadata;
  for (const char* part :
       {R"("interface_angle_deg": 15, "interface_position": 0.375, "interface_width_nm": 3)",
        R"("manganese_direction_deg": 0,)", R"("thickness_direction_deg": -22.5,)"})
    EXPECT_NE(metadata.find(part), std::string::npos) << part << " in " << metadata;
}

TEST(Specimen, RefusesWhatCannotBe) {
  auto message = [](auto change) {
    SpecimenParameters p;
    change(p);
    return user_error_of([&] { make_specimen(p, 4, 4, 1, 0); });
  };
  EXPECT_NE(message([](auto& p) { p.manganese = {0, 1.5}; }).find("Mn"), std::string::npos);
  EXPECT_NE(message([](auto& p) { p.damage = -0.1; }).find("damage"), std::string::npos);
  EXPECT_NE(message([](auto& p) { p.drift_ev = std::nan(""); }).find("drift"), std::string::npos);
  EXPECT_NE(message([](auto& p) { p.thickness = {0, 1}; }).find("thickness"), std::string::npos);
  EXPECT_NE(message([](auto& p) { p.thickness = {1, 9}; }).find("thickness"), std::string::npos);
  EXPECT_NE(message([](auto& p) { p.interface_angle_deg = 361; }).find("angle"), std::string::npos);
  EXPECT_NE(message([](auto& p) { p.interface_position = 1.1; }).find("position"), std::string::npos);
  EXPECT_NE(message([](auto& p) { p.manganese_direction_deg = std::nan(""); }).find("Mn gradient"),
            std::string::npos);
  EXPECT_NE(message([](auto& p) { p.thickness_direction_deg = -400; }).find("wedge"), std::string::npos);
  EXPECT_NE(message([](auto& p) { p.interface_width_nm = -1; }).find("width"), std::string::npos);
  EXPECT_NE(user_error_of([] { preset_named("gold"); }).find("hetero"), std::string::npos);
  for (const std::string& name : preset_names()) EXPECT_EQ(preset_name(preset_named(name)), name);
}

TEST(Specimen, PolycrystalHasFourPhasesWithNarrowBoundaries) {
  const SpecimenParameters p = preset_parameters(Preset::polycrystal);
  const Specimen specimen = make_specimen(p, 64, 80, 1, 3);
  std::map<std::pair<double, double>, int> pure;
  int mixed = 0;
  for (const PixelMaterial& m : specimen.materials) {
    const auto near = [](double share, double value) { return std::abs(share - value) < 0.01; };
    const std::pair<double, double> phase = {near(m.substrate, 1)     ? 1
                                             : near(m.substrate, 0.5) ? 0.5
                                                                      : 0,
                                             near(m.manganese, 0.5) ? 0.5 : 0};
    if (near(m.substrate, phase.first) && near(m.manganese, phase.second))
      ++pure[phase];
    else
      ++mixed;
    EXPECT_GE(m.substrate, 0);
    EXPECT_LE(m.substrate + m.manganese, 1 + 1e-12);
  }
  for (const auto& phase : {std::pair{0.0, 0.0}, {0.0, 0.5}, {1.0, 0.0}, {0.5, 0.0}})
    EXPECT_GT(pure[phase], 200) << phase.first << " " << phase.second;
  EXPECT_EQ(pure.size(), 4u);
  EXPECT_GT(mixed, 100);
  EXPECT_LT(mixed, 64 * 80 / 3);
  EXPECT_TRUE(make_specimen(p, 64, 80, 1, 3).materials[777].substrate == specimen.materials[777].substrate);
  // Nothing is mixed where boundaries have no width.
  SpecimenParameters sharp = p;
  sharp.interface_width_nm = 0;
  for (const PixelMaterial& m : make_specimen(sharp, 64, 80, 1, 3).materials)
    EXPECT_TRUE(m.substrate == 0 || m.substrate == 0.5 || m.substrate == 1);
}

}  // namespace
}  // namespace eelsvae
