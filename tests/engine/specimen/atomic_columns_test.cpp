#include "engine/specimen/atomic_columns.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/specimen/simulate.h"
#include "tests/engine/spectra.h"

namespace eelsvae {
namespace {

constexpr int64_t side = 96;
constexpr double pixel_nm = 0.04;

// Straight, whole and seen without distortion.
LatticeParameters plain(ZoneAxis axis) {
  LatticeParameters p;
  p.axis = axis;
  p.rotation_deg = p.distortion_nm = p.jitter_nm = 0;
  return p;
}

PixelMaterial film(double, double) {
  return {};
}

std::vector<PixelMaterial> seen(const LatticeParameters& p, int64_t pixels = side, double pixel = pixel_nm) {
  return AtomicColumns(p, std::vector<PixelMaterial>(static_cast<size_t>(pixels * pixels)), film, pixels,
                       pixels, pixel, 5)
      .seen();
}

double mean_of(const std::vector<PixelMaterial>& materials, double (*value)(const PixelMaterial&)) {
  double sum = 0;
  for (const PixelMaterial& m : materials) sum += value(m);
  return sum / static_cast<double>(materials.size());
}

double brightness(const PixelMaterial& m) {
  return m.brightness;
}
double iron(const PixelMaterial& m) {
  return m.brightness * m.iron();
}
double oxygen(const PixelMaterial& m) {
  return m.brightness * m.film_sites.oxygen;
}

// A lattice seen over many cells is the film that it is when atoms are not resolved. What is missing beyond
// three standard deviations of the broad part is a hundredth of that part.
TEST(AtomicColumns, ShowTheMeanCrystalOnAverage) {
  for (ZoneAxis axis : {ZoneAxis::axis_001, ZoneAxis::axis_110}) {
    const std::vector<PixelMaterial> materials = seen(plain(axis), 200);
    EXPECT_NEAR(mean_of(materials, brightness), 1, 0.02);
    EXPECT_NEAR(mean_of(materials, iron), 1, 0.02);
    EXPECT_NEAR(mean_of(materials, oxygen), 1, 0.02);
    for (const PixelMaterial& m : materials) EXPECT_EQ(m.substrate, 0);
  }
}

TEST(AtomicColumns, RepeatWithTheCell) {
  // Cells of 10 x 10 pixels, and of 10 along y and 7.07 along x.
  LatticeParameters p = plain(ZoneAxis::axis_001);
  p.constant_nm = 0.4;
  const std::vector<PixelMaterial> materials = seen(p);
  const auto at = [&](int64_t y, int64_t x) { return iron(materials[static_cast<size_t>(y * side + x)]); };
  double largest = 0, smallest = 10;
  for (int64_t y = 30; y < 50; ++y)
    for (int64_t x = 30; x < 50; ++x) {
      EXPECT_NEAR(at(y, x), at(y + 10, x), 1e-9);
      EXPECT_NEAR(at(y, x), at(y, x + 10), 1e-9);
      largest = std::max(largest, at(y, x));
      smallest = std::min(smallest, at(y, x));
    }
  // On a column: 0.75 * 0.4^2 / (2 pi 0.07^2) = 3.9, and a quarter of the mean.
  EXPECT_NEAR(largest, 4.1, 0.3);
  EXPECT_LT(smallest, 0.4);

  p.axis = ZoneAxis::axis_110;
  const AtomicColumns other(p, std::vector<PixelMaterial>(side * side), film, side, side, pixel_nm, 5);
  EXPECT_NEAR(other.cell_y_nm, 0.4, 1e-12);
  EXPECT_NEAR(other.cell_x_nm, 0.4 / std::sqrt(2.0), 1e-12);
}

TEST(AtomicColumns, AreMovedByDistortionAndJitterAndTurned) {
  const std::vector<PixelMaterial> straight = seen(plain(ZoneAxis::axis_001));
  const auto differs = [&](auto change) {
    LatticeParameters p = plain(ZoneAxis::axis_001);
    change(p);
    const std::vector<PixelMaterial> moved = seen(p);
    double largest = 0;
    for (size_t i = 0; i < moved.size(); ++i)
      largest = std::max(largest, std::abs(moved[i].brightness - straight[i].brightness));
    return largest;
  };
  EXPECT_EQ(differs([](auto&) {}), 0);
  EXPECT_GT(differs([](auto& p) { p.distortion_nm = 0.03; }), 0.1);
  EXPECT_GT(differs([](auto& p) { p.jitter_nm = 0.02; }), 0.1);
  EXPECT_GT(differs([](auto& p) { p.rotation_deg = 2; }), 0.1);
  EXPECT_GT(differs([](auto& p) { p.channelled = 0.5; }), 0.1);
  EXPECT_GT(differs([](auto& p) { p.probe_nm = 0.1; }), 0.1);
}

TEST(AtomicColumns, RefuseWhatCannotBe) {
  const auto message = [](auto change) {
    SpecimenParameters p = preset_parameters(Preset::lattice);
    change(p.lattice);
    return user_error_of([&] { make_specimen(p, 16, 16, pixel_nm, 0); });
  };
  EXPECT_NE(message([](auto& p) { p.constant_nm = 0; }).find("lattice constant"), std::string::npos);
  EXPECT_NE(message([](auto& p) { p.probe_nm = 0; }).find("probe"), std::string::npos);
  EXPECT_NE(message([](auto& p) { p.channelled = 1.1; }).find("channelled"), std::string::npos);
  EXPECT_NE(message([](auto& p) { p.jitter_nm = -1; }).find("jitter"), std::string::npos);
  EXPECT_NE(message([](auto& p) { p.rotation_deg = NAN; }).find("rotation"), std::string::npos);
  EXPECT_NE(user_error_of([] {
              make_specimen(preset_parameters(Preset::lattice), 200, 200, 1, 0);
            }).find("1e5 cells"),
            std::string::npos);
}

SimulationSettings with(const std::vector<std::string>& defects, Preset preset = Preset::lattice) {
  SimulationSettings s;
  s.preset = preset;
  s.height = s.width = side;
  s.channels = 64;
  s.energy_offset_ev = 690;
  s.dispersion_ev = 0.6;
  s.seed = 3;
  s.noise = false;
  for (const std::string& defect : defects) s.defects.push_back(parse_defect(defect));
  return s;
}

// Counts of the Fe L3 line above what lies before it.
double line_counts(const SpectrumImage& image, size_t pixel) {
  const float* spectrum = image.spectrum(static_cast<int64_t>(pixel));
  const auto sum = [&](double from_ev, double to_ev) {
    return std::accumulate(spectrum + std::lround(image.energy.index(from_ev)),
                           spectrum + std::lround(image.energy.index(to_ev)), 0.0);
  };
  return sum(712, 724) - sum(698, 710);
}

TEST(AtomicColumns, DefectsChangeTheirColumnsAndNothingFarFromThem) {
  for (Preset preset : {Preset::lattice, Preset::lattice_110}) {
    const SimulationSettings s = with({"antisite:0.8@3", "vacancy:0.8@3", "dopant:0.5@3"}, preset);
    const SimulatedImage changed = simulate(s), whole = simulate(without_defects(s));
    std::array<double, 4> pixels{}, iron_gained{}, all_gained{};
    for (size_t i = 0; i < changed.labels.size(); ++i) {
      const uint8_t label = changed.labels[i];
      EXPECT_EQ(changed.truth[i], label != 0);
      EXPECT_FALSE(label && changed.faint[i]);
      ++pixels[label];
      iron_gained[label] += line_counts(changed.image, i) - line_counts(whole.image, i);
      const float *a = changed.image.spectrum(static_cast<int64_t>(i)),
                  *b = whole.image.spectrum(static_cast<int64_t>(i));
      for (int64_t e = 0; e < 64; ++e) all_gained[label] += a[e] - b[e];
      // A twentieth of the most that any defect changes, which is five times the mean crystal's.
      for (int64_t e = 0; e < 64 && !label && !changed.faint[i]; ++e) EXPECT_NEAR(a[e], b[e], 0.5 * b[e] + 1);
    }
    // Half of the height of a Gaussian of 0.07 nm: a disc of 13.4 pixels each.
    for (size_t k = 1; k <= 3; ++k) EXPECT_NEAR(pixels[k], 3 * 13.4, 12) << k;
    EXPECT_GT(iron_gained[1] / pixels[1], 100);
    EXPECT_LT(iron_gained[2] / pixels[2], -100);
    EXPECT_LT(iron_gained[3] / pixels[3], -50);
    EXPECT_LT(all_gained[2], 0);  // a column with atoms missing is darker
    EXPECT_GT(std::accumulate(changed.faint.begin(), changed.faint.end(), 0), 100);
    EXPECT_LT(std::accumulate(changed.faint.begin(), changed.faint.end(), 0), 9 * 80);
  }
}

TEST(AtomicColumns, RowsAndInterfacesAreMoved) {
  for (uint64_t seed : {1, 2, 3}) {
    const auto changed = [&](const std::string& defect) {
      SimulationSettings s = with({defect}, Preset::lattice_interface);
      s.seed = seed;
      return simulate(s).labels;
    };
    const std::vector<uint8_t> stacking = changed("stacking:0.5@1"), step = changed("interface-step:1@1");
    EXPECT_GT(std::count(stacking.begin(), stacking.end(), 1), 20);
    EXPECT_GT(std::count(step.begin(), step.end(), 1), 20);
    // Five cells of 10 pixels, along a row and across the rows.
    const auto extent = [&](const std::vector<uint8_t>& labels, bool along_y) {
      int64_t first = side, last = 0;
      for (int64_t i = 0; i < side * side; ++i)
        if (labels[static_cast<size_t>(i)]) {
          first = std::min(first, along_y ? i / side : i % side);
          last = std::max(last, along_y ? i / side : i % side);
        }
      return last - first + 1;
    };
    EXPECT_LT(extent(stacking, true), 20);
    EXPECT_GT(extent(stacking, false), 30);
    EXPECT_LT(extent(step, false), 20);
    EXPECT_GT(extent(step, true), 30);
  }
}

// A step of many cells moves the interface and nothing else, as far as there are columns.
TEST(AtomicColumns, StepsMayBeLongerThanTheImage) {
  for (int64_t cells : {3, 10})
    for (uint64_t seed : {1, 2, 3}) {
      SimulationSettings s =
          with({"interface-step:" + std::to_string(cells) + "@1"}, Preset::lattice_interface);
      s.seed = seed;
      const SimulatedImage changed = simulate(s);
      const auto labelled = std::count(changed.labels.begin(), changed.labels.end(), 1);
      EXPECT_GT(labelled, 5 * std::min<int64_t>(cells, 3) * 8);
      EXPECT_LT(labelled, side * side / 3);
      // In every row all that is changed lies on one side of the interface, in the middle of the image.
      int64_t left = 0, right = 0;
      for (int64_t i = 0; i < side * side; ++i)
        if (changed.labels[static_cast<size_t>(i)]) ++(i % side < side / 2 ? left : right);
      EXPECT_LT(std::min(left, right), labelled / 4);
    }
}

TEST(AtomicColumns, DefectsAreRefusedWhereTheyCannotBe) {
  const auto message = [](const std::vector<std::string>& defects, Preset preset = Preset::lattice) {
    return user_error_of([&] { simulate(with(defects, preset)); });
  };
  EXPECT_NE(message({"vacancy:0.5"}, Preset::bfo).find("presets lattice"), std::string::npos);
  EXPECT_NE(message({"interface-step:1@1"}).find("lattice-interface has an interface"), std::string::npos);
  EXPECT_NE(message({"antisite:0.5@1000"}).find("of 1000 anomalies"), std::string::npos);
  EXPECT_NE(user_error_of([] { parse_defect("vacancy:0.5:disc"); }).find("no other shape"),
            std::string::npos);
  EXPECT_NE(user_error_of([] { parse_defect("interface-step:0.5"); }).find("whole number"),
            std::string::npos);
  EXPECT_NE(user_error_of([] { parse_defect("stacking:0.7"); }).find("at most at 0.5"), std::string::npos);
  // A share is of the columns that can be changed: of about 94.
  const SimulatedImage tenth = simulate(with({"vacancy:0.8@0.1"}));
  EXPECT_NEAR(static_cast<double>(std::count(tenth.truth.begin(), tenth.truth.end(), 1)), 9.4 * 13.4, 30);
}

}  // namespace
}  // namespace eelsvae
