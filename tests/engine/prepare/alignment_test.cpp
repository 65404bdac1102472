#include "engine/prepare/alignment.h"

#include <gtest/gtest.h>
#include <omp.h>

#include "engine/prepare/resampling.h"
#include "engine/specimen/simulate.h"
#include "tests/engine/spectra.h"

namespace eelsvae {
namespace {

const Axis low_loss = {"E", "eV", -20, 0.1, 1200};
const Axis core_loss = {"E", "eV", 500, 0.25, 400};

// Up to about two channels of 0.1 eV, differently in each pixel.
double drift_ev(int64_t y, int64_t x) {
  return 0.2 * std::sin(0.7 * static_cast<double>(y) + 1.3 * static_cast<double>(x)) + 0.013;
}

// Zero-loss peak of `height` counts and 0.35 eV width (rms), a plasmon, and a flat background.
SpectrumImage low_loss_image(double height, double calibration_ev = 0, double sigma_ev = 0.35) {
  return image_of(9, 8, low_loss, [=](int64_t y, int64_t x, double ev) {
    const double at = ev - drift_ev(y, x) - calibration_ev;
    return height * gaussian(at, 0, sigma_ev) + 0.06 * height * gaussian(at, 22, 3) + 2e-4 * height;
  });
}

// An edge with a white line on a falling background.
double core_spectrum(double ev) {
  return 800 * std::pow(ev / 500, -3) + 200 / (1 + std::exp(-(ev - 530) / 0.5)) +
         500 * gaussian(ev, 532, 0.8);
}
SpectrumImage core_loss_image(const std::function<double(int64_t, int64_t)>& drift) {
  return image_of(9, 8, core_loss,
                  [&](int64_t y, int64_t x, double ev) { return core_spectrum(ev - drift(y, x)); });
}

PreprocessConfig aligned_at(Align align, std::optional<std::array<double, 2>> window = std::nullopt) {
  PreprocessConfig config;
  config.align = align;
  config.align_window = window;
  return config;
}

// Largest difference between the shifts and -drift, a common shift aside.
double largest_error(const EnergyShifts& shifts, const std::function<double(int64_t, int64_t)>& drift) {
  std::vector<double> errors;
  for (size_t i = 0; i < shifts.ev.size(); ++i)
    errors.push_back(shifts.ev[i] + drift(static_cast<int64_t>(i) / 8, static_cast<int64_t>(i) % 8));
  const auto [low, high] = std::minmax_element(errors.begin(), errors.end());
  return 0.5 * (*high - *low);
}

TEST(Resampling, IsTheCubicSplineThroughTheChannels) {
  // scipy.ndimage.shift([3, 1, 4, 1, 5, 9, 2, 6], 1.3 (-2.75, 0.5), order=3, mode="nearest"), SciPy 1.17
  const std::vector<float> in = {3, 1, 4, 1, 5, 9, 2, 6};
  const std::vector<std::pair<double, std::vector<double>>> cases = {
      {1.3, {2.91468982, 3.31838193, 1.12578244, 3.43948829, 1.79326439, 3.02645416, 9.08991899, 3.64086988}},
      {-2.75,
       {1.60850792, 3.32714691, 9.19227942, 3.26311039, 4.72402901, 6.32514857, 5.91287670, 6.02334462}},
      {0.5,
       {3.30791597, 1.60084197, 2.66371616, 2.61929340, 1.98411024, 8.31926564, 5.36382719, 3.22542561}}};
  for (const auto& [shift, expected] : cases) {
    std::vector<float> out(8), scratch(8 + spline_taps);
    move_spectrum(in.data(), out.data(), 8, shift, scratch.data());
    for (size_t i = 0; i < 8; ++i)
      EXPECT_NEAR(static_cast<double>(out[i]), expected[i], 2e-6) << shift << " " << i;
  }
}

TEST(Resampling, WholeChannelsMoveUnchangedAndEndsRepeat) {
  const std::vector<float> in = {3, 1, 4, 1, 5};
  std::vector<float> out(5), scratch(5 + spline_taps);
  const std::vector<std::pair<double, std::vector<float>>> cases = {
      {0, in}, {2, {3, 3, 3, 1, 4}}, {-1, {1, 4, 1, 5, 5}}, {900, {3, 3, 3, 3, 3}}, {-1e300, {5, 5, 5, 5, 5}},
  };
  for (const auto& [shift, expected] : cases) {
    move_spectrum(in.data(), out.data(), 5, shift, scratch.data());
    EXPECT_EQ(out, expected) << shift;
  }
}

TEST(Resampling, KeepsASmoothCurveAndMostOfTheNoise) {
  std::vector<float> noise(4096), moved(4096), scratch(4096 + spline_taps);
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  for (float& value : noise) value = normal(generator);
  double variance = 0;
  move_spectrum(noise.data(), moved.data(), 4096, 0.5, scratch.data());
  for (size_t i = 50; i < 4000; ++i) variance += static_cast<double>(moved[i] * moved[i]) / 3950;
  EXPECT_NEAR(variance, 0.756, 0.05);

  std::vector<float> curve(256), out(256);
  for (size_t i = 0; i < 256; ++i)
    curve[i] = static_cast<float>(1000 * gaussian(static_cast<double>(i), 100, 4));
  move_spectrum(curve.data(), out.data(), 256, 3.37, scratch.data());
  for (size_t i = 0; i < 256; ++i)
    EXPECT_NEAR(static_cast<double>(out[i]), 1000 * gaussian(static_cast<double>(i), 103.37, 4), 0.1);
}

TEST(Resampling, ShiftsAreEnergiesOnAnyDispersion) {
  SpectrumImage image = core_loss_image([](int64_t, int64_t) { return 0; });
  std::vector<double> shifts(72, 0.0);
  shifts[5] = 1.0;   // 4 channels
  shifts[6] = -0.6;  // 2.4 channels
  const SpectrumImage before = image;
  const RepeatedChannels repeated = move_spectra(image, shifts);
  EXPECT_EQ(repeated.low, 4);
  EXPECT_EQ(repeated.high, 3);
  for (int64_t e = 10; e < 390; ++e) {
    EXPECT_EQ(image.spectrum(4)[e], before.spectrum(4)[e]);
    EXPECT_EQ(image.spectrum(5)[e], before.spectrum(5)[e - 4]);
    EXPECT_NEAR(static_cast<double>(image.spectrum(6)[e]),
                core_spectrum(core_loss.value(static_cast<double>(e)) + 0.6), 0.5);
  }
  EXPECT_EQ(image.energy, core_loss);
}

// The peak holds 880 (8800) electrons; a perfect measurement is uncertain by 3.5 / sqrt(880) = 0.12 (0.04)
// channels, so that among 72 spectra an error of 0.4 (0.12) is the largest to expect.
TEST(ZeroLoss, FindsShiftsDownToTheNoise) {
  for (auto [height, tolerance] : {std::pair<double, double>{100, 0.45}, {1000, 0.15}, {1e4, 0.05}}) {
    SpectrumImage image = low_loss_image(height);
    add_noise(image, 3);
    const EnergyShifts shifts = measure_shifts(image, aligned_at(Align::zero_loss));
    EXPECT_EQ(shifts.unclear, 0);
    EXPECT_LT(largest_error(shifts, drift_ev) / low_loss.scale, tolerance) << height;
    EXPECT_NEAR(shifts.reference.energy_ev, 0.013, 0.03);
  }
}

TEST(ZeroLoss, FindsNarrowAndWidePeaksWithoutNoise) {
  // Less than a channel (rms), where a parabola through three channels errs by a tenth; and 25 channels.
  for (double sigma_ev : {0.085, 0.2, 2.5}) {
    const EnergyShifts shifts =
        measure_shifts(low_loss_image(1e5, 0.37, sigma_ev), aligned_at(Align::zero_loss));
    EXPECT_LT(largest_error(shifts, drift_ev) / low_loss.scale, 0.02) << sigma_ev;
    EXPECT_NEAR(shifts.reference.energy_ev, 0.383, 0.005);
  }
}

TEST(ZeroLoss, LooksInTheWindowOnly) {
  SpectrumImage image = low_loss_image(1000);
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel) image.spectrum(pixel)[900] = 1e6f;
  const EnergyShifts shifts =
      measure_shifts(image, aligned_at(Align::zero_loss, std::array<double, 2>{-5, 5}));
  EXPECT_LT(largest_error(shifts, drift_ev) / low_loss.scale, 0.02);
}

TEST(ZeroLoss, SpectraWithoutAPeakGetTheMedianShift) {
  SpectrumImage image = low_loss_image(1000);
  std::fill_n(image.spectrum(3), low_loss.size, 0.0f);
  std::fill_n(image.spectrum(4), low_loss.size, 7.0f);
  std::mt19937 generator(2);
  std::normal_distribution<float> normal(0, 10);
  for (int64_t e = 0; e < low_loss.size; ++e) image.spectrum(5)[e] = normal(generator);
  const EnergyShifts shifts = measure_shifts(image, aligned_at(Align::zero_loss));
  EXPECT_EQ(shifts.unclear, 3);
  for (size_t pixel : {3u, 4u, 5u}) EXPECT_DOUBLE_EQ(shifts.ev[pixel], 0);
}

TEST(ZeroLoss, UserErrorsSayWhatWouldBeRight) {
  const SpectrumImage core = core_loss_image(drift_ev), low = low_loss_image(100);
  auto error = [](const SpectrumImage& image, const PreprocessConfig& config) {
    return user_error_of([&] { measure_shifts(image, config); });
  };
  EXPECT_NE(error(core, aligned_at(Align::zero_loss)).find("preprocess.align_path"), std::string::npos);
  const std::string misses = error(low, aligned_at(Align::zero_loss, std::array<double, 2>{500, 510}));
  EXPECT_NE(misses.find("500 to 510 eV"), std::string::npos) << misses;
  EXPECT_NE(misses.find("-20 to 99.9 eV"), std::string::npos) << misses;
  SpectrumImage constant = low;
  std::fill(constant.counts.begin(), constant.counts.end(), 5.0f);
  EXPECT_NE(error(constant, aligned_at(Align::zero_loss)).find("no peak"), std::string::npos);
  const SpectrumImage tiny = image_of(1, 1, {"E", "eV", 0, 1, 1}, [](auto...) { return 1.0; });
  EXPECT_NE(error(tiny, aligned_at(Align::zero_loss)).find("at least 3"), std::string::npos);
}

TEST(Feature, FindsShiftsWithoutNoise) {
  const EnergyShifts shifts =
      measure_shifts(core_loss_image(drift_ev), aligned_at(Align::feature, std::array<double, 2>{520, 545}));
  EXPECT_EQ(shifts.unclear, 0);
  EXPECT_LT(largest_error(shifts, drift_ev) / core_loss.scale, 0.01);
}

// Shot noise: the white line of 500 counts on 900, a signal-to-noise ratio of 13 in its highest channel.
TEST(Feature, FindsShiftsInNoiseAsWellAsItSays) {
  SpectrumImage image = core_loss_image(drift_ev);
  add_noise(image, 5);
  const EnergyShifts shifts =
      measure_shifts(image, aligned_at(Align::feature, std::array<double, 2>{520, 545}));
  EXPECT_EQ(shifts.unclear, 0);
  EXPECT_LT(shifts.uncertainty_ev / core_loss.scale, 0.15);
  EXPECT_LT(largest_error(shifts, drift_ev), 4 * shifts.uncertainty_ev);
  double mean = 0, square = 0;
  for (size_t i = 0; i < 72; ++i) {
    const double error = shifts.ev[i] + drift_ev(static_cast<int64_t>(i) / 8, static_cast<int64_t>(i) % 8);
    mean += error / 72;
    square += error * error / 72;
  }
  EXPECT_NEAR(std::sqrt(square - mean * mean) / shifts.uncertainty_ev, 1, 0.35);
}

// Sixty times the counts, a signal-to-noise ratio of 100 in the highest channel; all 72 errors are below.
TEST(Feature, FindsShiftsToATwentiethOfAChannel) {
  SpectrumImage image = core_loss_image(drift_ev);
  for (float& count : image.counts) count *= 60;
  add_noise(image, 6);
  const EnergyShifts shifts =
      measure_shifts(image, aligned_at(Align::feature, std::array<double, 2>{520, 545}));
  EXPECT_LT(largest_error(shifts, drift_ev) / core_loss.scale, 0.05);
}

TEST(Feature, ThicknessAndBackgroundDoNotMoveIt) {
  SpectrumImage image = core_loss_image(drift_ev);
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel)
    for (int64_t e = 0; e < core_loss.size; ++e)
      image.spectrum(pixel)[e] =
          image.spectrum(pixel)[e] * static_cast<float>(1 + 0.1 * static_cast<double>(pixel % 5)) +
          static_cast<float>(pixel % 3) * (200.0f + 0.5f * static_cast<float>(e));
  const EnergyShifts shifts =
      measure_shifts(image, aligned_at(Align::feature, std::array<double, 2>{520, 545}));
  EXPECT_LT(largest_error(shifts, drift_ev) / core_loss.scale, 0.02);
}

TEST(Feature, OneShiftForEachScanLineReachesWeakFeatures) {
  auto by_row = [](int64_t y, int64_t) { return 0.1 * std::sin(static_cast<double>(y)); };
  SpectrumImage image = image_of(9, 64, core_loss, [&](int64_t y, int64_t x, double ev) {
    return core_spectrum(ev - by_row(y, x)) + 0.0;
  });
  add_noise(image, 8, 2.7, 60);
  PreprocessConfig config = aligned_at(Align::feature, std::array<double, 2>{520, 545});
  const EnergyShifts pixels = measure_shifts(image, config);
  config.align_by = AlignBy::row;
  const EnergyShifts rows = measure_shifts(image, config);
  EXPECT_EQ(rows.spectra, 9);
  EXPECT_LT(rows.uncertainty_ev, 0.2 * pixels.uncertainty_ev);
  double middle = 0;
  for (int64_t y = 0; y < 9; ++y) middle += (rows.ev[static_cast<size_t>(y * 64)] + by_row(y, 0)) / 9;
  for (int64_t y = 0; y < 9; ++y)
    for (int64_t x = 0; x < 64; ++x)
      EXPECT_NEAR(rows.ev[static_cast<size_t>(y * 64 + x)], middle - by_row(y, x), 0.05);
}

TEST(Feature, AnotherImageIsBroughtToTheModelsReference) {
  const PreprocessConfig config = aligned_at(Align::feature, std::array<double, 2>{520, 545});
  const EnergyShifts training = measure_shifts(core_loss_image(drift_ev), config);
  // The same specimen, 1.13 eV further up, on an axis that starts a fraction of a channel elsewhere.
  Axis elsewhere = core_loss;
  elsewhere.offset += 3.1;
  const SpectrumImage other = image_of(2, 3, elsewhere, [](int64_t, int64_t x, double ev) {
    return core_spectrum(ev - 1.13 - 0.1 * static_cast<double>(x));
  });
  const EnergyShifts shifts = measure_shifts(other, config, &training.reference);
  const double common = training.ev[0] + drift_ev(0, 0);  // the reference's own place
  for (size_t i = 0; i < 6; ++i)
    EXPECT_NEAR(shifts.ev[i], common - 1.13 - 0.1 * static_cast<double>(i % 3), 0.005) << i;
  EXPECT_EQ(shifts.reference, training.reference);
  // The training image itself is brought to where it was.
  const EnergyShifts again = measure_shifts(core_loss_image(drift_ev), config, &training.reference);
  for (size_t i = 0; i < 72; ++i) EXPECT_NEAR(again.ev[i], training.ev[i], 0.002);

  Axis coarse = core_loss;
  coarse.scale = 0.5;
  EXPECT_NE(user_error_of([&] {
              measure_shifts(image_of(2, 2, coarse, [](auto, auto, double ev) { return core_spectrum(ev); }),
                             config, &training.reference);
            }).find("0.25 eV per channel"),
            std::string::npos);
  Axis beside = core_loss;
  beside.offset = 540;
  EXPECT_NE(user_error_of([&] {
              measure_shifts(image_of(2, 2, beside, [](auto, auto, double ev) { return core_spectrum(ev); }),
                             config, &training.reference);
            }).find("does not hold"),
            std::string::npos);
}

TEST(Feature, SpectraWithoutTheFeatureGetTheMedianShift) {
  SpectrumImage image = core_loss_image(drift_ev);
  add_noise(image, 7);
  std::fill_n(image.spectrum(3), core_loss.size, 0.0f);
  std::fill_n(image.spectrum(4), core_loss.size, 7.0f);
  std::mt19937 generator(2);
  std::normal_distribution<float> normal(800, 30);
  for (int64_t e = 0; e < core_loss.size; ++e) image.spectrum(5)[e] = normal(generator);
  const EnergyShifts shifts =
      measure_shifts(image, aligned_at(Align::feature, std::array<double, 2>{520, 545}));
  EXPECT_EQ(shifts.unclear, 3);
  std::vector<double> sorted = shifts.ev;
  std::sort(sorted.begin(), sorted.end());
  for (size_t pixel : {3u, 4u, 5u}) EXPECT_NEAR(shifts.ev[pixel], 0, 1e-12);
  EXPECT_LT(largest_error(shifts, drift_ev),
            0.25);  // those three aside, which the drift has up to 0.21 eV off
}

TEST(Feature, UserErrorsSayWhatWouldBeRight) {
  const SpectrumImage image = core_loss_image(drift_ev);
  auto error = [&](std::array<double, 2> window) {
    return user_error_of([&] { measure_shifts(image, aligned_at(Align::feature, window)); });
  };
  EXPECT_NE(error({700, 800}).find("500 to 599.75 eV"), std::string::npos) << error({700, 800});
  EXPECT_NE(error({530, 531}).find("at least 8"), std::string::npos);
  SpectrumImage constant = image;
  std::fill(constant.counts.begin(), constant.counts.end(), 5.0f);
  EXPECT_NE(user_error_of([&] {
              measure_shifts(constant, aligned_at(Align::feature, std::array<double, 2>{520, 545}));
            }).find("straight line"),
            std::string::npos);
}

TEST(Feature, ASinglePixelIsItsOwnReference) {
  const SpectrumImage image =
      image_of(1, 1, core_loss, [](int64_t, int64_t, double ev) { return core_spectrum(ev); });
  const EnergyShifts shifts =
      measure_shifts(image, aligned_at(Align::feature, std::array<double, 2>{520, 545}));
  EXPECT_NEAR(shifts.ev[0], 0, 1e-9);
}

TEST(Alignment, DoesNotDependOnTheNumberOfThreads) {
  SpectrumImage core = core_loss_image(drift_ev), low = low_loss_image(300);
  add_noise(core, 9);
  add_noise(low, 10);
  const int before = omp_get_max_threads();
  for (AlignBy by : {AlignBy::pixel, AlignBy::row}) {
    PreprocessConfig feature = aligned_at(Align::feature, std::array<double, 2>{520, 545}),
                     zero_loss = aligned_at(Align::zero_loss);
    feature.align_by = zero_loss.align_by = by;
    omp_set_num_threads(1);
    const EnergyShifts a = measure_shifts(core, feature), b = measure_shifts(low, zero_loss);
    SpectrumImage one = core;
    move_spectra(one, a.ev);
    omp_set_num_threads(3);
    EXPECT_EQ(measure_shifts(core, feature).ev, a.ev);
    EXPECT_EQ(measure_shifts(core, feature).reference, a.reference);
    EXPECT_EQ(measure_shifts(low, zero_loss).ev, b.ev);
    SpectrumImage three = core;
    move_spectra(three, a.ev);
    EXPECT_EQ(one.counts, three.counts);
  }
  omp_set_num_threads(before);
}

}  // namespace
}  // namespace eelsvae
