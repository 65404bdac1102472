#include "engine/preprocess.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "engine/filters.h"
#include "kernels/error.h"
#include "tests/fixtures/preprocess_reference.h"

namespace eelsvae {
namespace {

namespace reference = preprocess_reference;

SpectrumImage make_image(int64_t height, int64_t width, int64_t channels) {
  SpectrumImage image;
  image.y = {"y", "nm", 0, 1, height};
  image.x = {"x", "nm", 0, 1, width};
  image.energy = {"Energy loss", "eV", 420, 0.3, channels};
  image.counts.resize(static_cast<size_t>(height * width * channels));
  return image;
}

SpectrumImage random_image(int64_t height, int64_t width, int64_t channels, uint32_t seed) {
  SpectrumImage image = make_image(height, width, channels);
  std::mt19937 generator(seed);
  std::normal_distribution<float> counts(40, 15);
  for (float& count : image.counts) count = counts(generator);
  return image;
}

SpectrumImage reference_image() {
  SpectrumImage image = make_image(reference::height, reference::width, reference::channels);
  std::copy(reference::cube.begin(), reference::cube.end(), image.counts.begin());
  return image;
}

// Relative to the largest expected value.
void expect_close(std::span<const float> values, const std::vector<double>& expected,
                  double tolerance = 1e-6) {
  ASSERT_EQ(values.size(), expected.size());
  double largest = 0;
  for (double value : expected) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < expected.size(); ++i)
    ASSERT_NEAR(static_cast<double>(values[i]), expected[i], tolerance * largest) << "at " << i;
}

std::string user_error(const auto& action) {
  try {
    action();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

PreprocessConfig off() {
  PreprocessConfig config;
  config.sigma = 0;
  config.xy_window = 1;
  config.scaling_method = Scaling::none;
  return config;
}

TEST(Filters, GaussianIsScipys) {
  SpectrumImage image = reference_image();
  gaussian_filter(image, 0.5);
  expect_close(image.counts, reference::gaussian_05);
}

TEST(Filters, GaussianWiderThanTheImageIsScipys) {
  SpectrumImage image = reference_image();
  gaussian_filter(image, 3);
  expect_close(image.counts, reference::gaussian_30);
}

TEST(Filters, SpatialMeanIsScipys) {
  SpectrumImage image = reference_image();
  spatial_mean(image, 3);
  expect_close(image.counts, reference::uniform_3);
  image = reference_image();
  spatial_mean(image, 7);
  expect_close(image.counts, reference::uniform_7);
}

TEST(Filters, OffChangesNothing) {
  SpectrumImage image = reference_image();
  gaussian_filter(image, 0);
  spatial_mean(image, 1);
  EXPECT_EQ(image.counts, reference_image().counts);
}

// More columns than one block of the filter holds, and not a multiple of it.
TEST(Filters, ImpulseSpreadsAsTheProductOfItsAxes) {
  SpectrumImage image = make_image(5, 7, 301);
  const int64_t y = 2, x = 6, channel = 256;
  image.spectrum(y * 7 + x)[channel] = 1;
  gaussian_filter(image, 0.5);
  const double tail = std::exp(-2.0), far = std::exp(-8.0), sum = 1 + 2 * tail + 2 * far;
  auto weight = [&](int64_t distance) {
    return (distance == 0 ? 1 : distance == 1 ? tail : distance == 2 ? far : 0) / sum;
  };
  for (int64_t j = 0; j < 5; ++j)
    for (int64_t i = 0; i < 7; ++i)
      for (int64_t e = 0; e < 301; ++e) {
        // Column 6 is the last: its mirror image stands at column 7.
        double along_x = weight(std::abs(i - x)) + weight(std::abs(i - 7));
        double expected = weight(std::abs(j - y)) * along_x * weight(std::abs(e - channel));
        ASSERT_NEAR(static_cast<double>(image.spectrum(j * 7 + i)[e]), expected, 1e-7)
            << j << " " << i << " " << e;
      }
}

TEST(Filters, ImpossibleSizesAreUserErrors) {
  SpectrumImage image = reference_image();
  EXPECT_THROW(gaussian_filter(image, -1), UserError);
  EXPECT_THROW(gaussian_filter(image, std::nan("")), UserError);
  EXPECT_THROW(gaussian_filter(image, 1e9), UserError);
  EXPECT_THROW(spatial_mean(image, 2), UserError);
  EXPECT_THROW(spatial_mean(image, -3), UserError);
}

TEST(Percentiles, AreNumpys) {
  std::vector<double> found = percentiles(reference_image().counts, reference::percents);
  ASSERT_EQ(found.size(), reference::percentile_values.size());
  for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], reference::percentile_values[i], 1e-6);
}

TEST(Percentiles, AreThoseOfTheSortedValues) {
  std::mt19937 generator(5);
  std::uniform_int_distribution<int> exponent(-30, 30);
  std::normal_distribution<float> normal;
  for (size_t size : {1u, 2u, 3u, 1000u, 40001u}) {
    std::vector<float> values(size);
    for (float& value : values) value = std::ldexp(normal(generator), exponent(generator));
    values[0] = -0.0f;
    std::vector<float> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    std::vector<double> percents;
    for (int i = 0; i <= 300; ++i) percents.push_back(i / 3.0);
    percents.back() = 100;
    std::vector<double> found = percentiles(values, percents);
    for (size_t i = 0; i < percents.size(); ++i) {
      double position = percents[i] / 100 * static_cast<double>(size - 1);
      auto below = static_cast<size_t>(position);
      double low = sorted[below], high = sorted[std::min(below + 1, size - 1)];
      // A compiler may fuse the product with the sum or not: one rounding of the larger number apart.
      ASSERT_NEAR(found[i], low + (high - low) * (position - static_cast<double>(below)),
                  1e-15 * std::max(std::abs(low), std::abs(high)))
          << size << " values, percentile " << percents[i];
    }
  }
}

struct ScalingCase {
  Scaling method;
  const std::vector<double>* expected;
};
class ScalingMethods : public testing::TestWithParam<ScalingCase> {};

TEST_P(ScalingMethods, AreTheReferences) {
  PreprocessConfig config = off();
  config.scaling_method = GetParam().method;
  SpectrumImage image = reference_image();
  ScalingParameters scaling = ScalingParameters::fit(image.counts, config);
  scaling.apply(image.counts);
  expect_close(image.counts, *GetParam().expected);
}

TEST_P(ScalingMethods, AreReversibleWithinTheirLimits) {
  PreprocessConfig config = off();
  config.scaling_method = GetParam().method;
  CountArray counts = random_image(4, 4, 128, 11).counts;
  ScalingParameters scaling = ScalingParameters::fit(counts, config);
  CountArray scaled = counts;
  scaling.apply(scaled);
  scaling.invert(scaled);
  const bool clips = scaling.method == Scaling::robust_minmax;
  const double low = clips ? scaling.offset : -1e9, high = clips ? scaling.offset + scaling.range : 1e9;
  for (size_t i = 0; i < counts.size(); ++i)
    ASSERT_NEAR(static_cast<double>(scaled[i]), std::clamp(static_cast<double>(counts[i]), low, high), 1e-3);
}

INSTANTIATE_TEST_SUITE_P(All, ScalingMethods,
                         testing::Values(ScalingCase{Scaling::robust_minmax, &reference::robust_minmax},
                                         ScalingCase{Scaling::minmax, &reference::minmax},
                                         ScalingCase{Scaling::zscore, &reference::zscore},
                                         ScalingCase{Scaling::quantile, &reference::quantile},
                                         ScalingCase{Scaling::none, &reference::cube}));

TEST(Scaling, QuantilesFittedElsewhereAreSklearns) {
  std::vector<float> fitted_on;
  const int64_t line = reference::width * reference::channels;
  for (int64_t y = 0; y < reference::height; y += 2)
    fitted_on.insert(fitted_on.end(), reference::cube.begin() + y * line,
                     reference::cube.begin() + (y + 1) * line);
  PreprocessConfig config = off();
  config.scaling_method = Scaling::quantile;
  CountArray counts = reference_image().counts;
  ScalingParameters::fit(fitted_on, config).apply(counts);
  expect_close(counts, reference::quantile_of_others);
}

TEST(Scaling, QuantileMapOfMoreValuesThanQuantilesIsMonotoneAndUniform) {
  CountArray counts = random_image(8, 8, 512, 12).counts;
  PreprocessConfig config = off();
  config.scaling_method = Scaling::quantile;
  ScalingParameters scaling = ScalingParameters::fit(counts, config);
  EXPECT_EQ(scaling.quantiles.size(), 1000u);
  std::sort(counts.begin(), counts.end());
  scaling.apply(counts);
  EXPECT_TRUE(std::is_sorted(counts.begin(), counts.end()));
  for (size_t i = 0; i < counts.size(); ++i)
    ASSERT_NEAR(static_cast<double>(counts[i]),
                static_cast<double>(i) / static_cast<double>(counts.size() - 1), 1.1e-3);
}

TEST(Scaling, EqualCountsAreAUserError) {
  for (Scaling method : {Scaling::robust_minmax, Scaling::minmax, Scaling::zscore, Scaling::quantile}) {
    PreprocessConfig config = off();
    config.scaling_method = method;
    std::vector<float> counts(3000, 0.1f);
    EXPECT_NE(user_error([&] { ScalingParameters::fit(counts, config); }).find("equal"), std::string::npos)
        << static_cast<int>(method);
  }
  // One count in ten thousand differs: nothing between the percentiles, but extremes to scale by.
  std::vector<float> counts(10000, 3.0f);
  counts[77] = 9;
  PreprocessConfig config = off();
  config.scaling_method = Scaling::robust_minmax;
  EXPECT_THROW(ScalingParameters::fit(counts, config), UserError);
  config.scaling_method = Scaling::minmax;
  EXPECT_NO_THROW(ScalingParameters::fit(counts, config));
}

TEST(Prepare, IsThePublishedOrder) {
  PreparedImage prepared =
      prepare(reference_image(), PreprocessConfig{}, std::array<double, 2>{420.9, 425.4});
  expect_close(prepared.image.counts, reference::prepared, 2e-6);
  EXPECT_TRUE(prepared.notes.empty());
  EXPECT_NEAR(prepared.image.energy.offset, 420.9, 1e-9);
  EXPECT_EQ(prepared.image.energy.size, 16);
}

TEST(Prepare, FindsThePublishedChannels) {
  PreparedImage prepared = prepare(random_image(2, 2, 1340, 1), off(), std::array<double, 2>{423.3, 816.6});
  EXPECT_EQ(prepared.image.energy.size, 1312);
  EXPECT_NEAR(prepared.image.energy.offset, 423.3, 1e-9);
  EXPECT_TRUE(prepared.notes.empty());
}

TEST(Prepare, NarrowsSymmetricallyAndSaysSo) {
  SpectrumImage image = random_image(3, 2, 53, 2);
  PreparedImage prepared = prepare(image, off(), std::nullopt);
  EXPECT_EQ(prepared.image.energy.size, 48);
  EXPECT_NEAR(prepared.image.energy.offset, 420.6, 1e-9);
  ASSERT_EQ(prepared.notes.size(), 1u);
  EXPECT_NE(prepared.notes[0].find("48 channels"), std::string::npos) << prepared.notes[0];
  for (int64_t pixel = 0; pixel < 6; ++pixel)
    for (int64_t channel = 0; channel < 48; ++channel)
      ASSERT_EQ(prepared.image.spectrum(pixel)[channel], image.spectrum(pixel)[channel + 2]);
}

TEST(Prepare, RefusesRangesWithTooFewChannels) {
  SpectrumImage image = random_image(2, 2, 100, 3);  // 420 to 449.7 eV
  for (std::array<double, 2> range : {std::array<double, 2>{430, 434.2}, {500, 600}, {100, 200}}) {
    std::string message = user_error([&] { prepare(image, off(), range); });
    EXPECT_NE(message.find("420 to 449.7 eV"), std::string::npos) << message;
  }
  EXPECT_THROW(prepare(image, off(), std::array<double, 2>{440, 430}), UserError);
  EXPECT_THROW(prepare(image, off(), std::array<double, 2>{std::nan(""), 430}), UserError);
  EXPECT_THROW(prepare(random_image(2, 2, 15, 3), off(), std::nullopt), UserError);
  image.energy.scale = -0.3;
  EXPECT_THROW(prepare(image, off(), std::array<double, 2>{430, 440}), UserError);
}

TEST(Prepare, NamesTheFirstCountThatIsNotFinite) {
  SpectrumImage image = random_image(3, 4, 32, 4);
  image.spectrum(1 * 4 + 2)[5] = std::numeric_limits<float>::infinity();
  image.spectrum(2 * 4 + 3)[31] = std::numeric_limits<float>::quiet_NaN();
  std::string message = user_error([&] { prepare(image, PreprocessConfig{}, std::nullopt); });
  EXPECT_NE(message.find("2 counts are not finite, the first at y 1, x 2, channel 5"), std::string::npos)
      << message;
}

TEST(Prepare, AppliesAModelsScalingToOtherData) {
  PreprocessConfig config;
  ScalingParameters fitted = prepare(random_image(6, 6, 64, 5), config, std::nullopt).scaling;
  SpectrumImage brighter = random_image(6, 6, 64, 6);
  for (float& count : brighter.counts) count += 20;
  PreparedImage own = prepare(brighter, config, std::nullopt),
                models = prepare(brighter, config, std::nullopt, &fitted);
  EXPECT_EQ(models.scaling, fitted);
  double own_sum = 0, models_sum = 0;
  for (float value : own.image.counts) own_sum += value;
  for (float value : models.image.counts) models_sum += value;
  EXPECT_GT(models_sum, 1.3 * own_sum);
}

TEST(Prepare, DoesNotDependOnTheNumberOfThreads) {
  const int before = omp_get_max_threads();
  for (Scaling method : {Scaling::robust_minmax, Scaling::zscore, Scaling::quantile}) {
    PreprocessConfig config;
    config.scaling_method = method;
    omp_set_num_threads(1);
    PreparedImage one = prepare(random_image(13, 11, 640, 7), config, std::nullopt);
    omp_set_num_threads(3);
    PreparedImage three = prepare(random_image(13, 11, 640, 7), config, std::nullopt);
    EXPECT_EQ(one.scaling, three.scaling);
    EXPECT_EQ(one.image.counts, three.image.counts);
  }
  omp_set_num_threads(before);
}

TEST(CheckNonNegative, RefusesNegativeTargetsOfCrossEntropyOnly) {
  SpectrumImage image = random_image(2, 2, 16, 8);
  for (float& count : image.counts) count = std::abs(count);
  EXPECT_NO_THROW(check_non_negative(image, ReconstructionLoss::cross_entropy));
  image.counts[17] = -2.5f;
  EXPECT_NO_THROW(check_non_negative(image, ReconstructionLoss::mse));
  std::string message = user_error([&] { check_non_negative(image, ReconstructionLoss::cross_entropy); });
  EXPECT_NE(message.find("-2.5"), std::string::npos) << message;
  EXPECT_NE(message.find("preprocess.scaling_method"), std::string::npos) << message;
}

TEST(CropToAxis, TakesTheModelsChannels) {
  SpectrumImage image = random_image(2, 3, 200, 9);
  const SpectrumImage whole = image;
  // Off by a twentieth of a channel, as after reading an axis written with few digits.
  crop_to_axis(image, {"E", "eV", 420 + 0.3 * 17 + 0.015, 0.3, 160});
  ASSERT_EQ(image.energy.size, 160);
  EXPECT_NEAR(image.energy.offset, 420 + 0.3 * 17, 1e-9);
  for (int64_t pixel = 0; pixel < 6; ++pixel)
    for (int64_t channel = 0; channel < 160; ++channel)
      ASSERT_EQ(image.spectrum(pixel)[channel], whole.spectrum(pixel)[channel + 17]);
}

TEST(CropToAxis, NamesBothAxesWhereTheyDiffer) {
  SpectrumImage image = random_image(2, 3, 200, 10);  // 420 to 479.7 eV
  const Axis shifted{"E", "eV", 425.1 + 0.06, 0.3, 160}, stretched{"E", "eV", 425.1, 0.301, 160},
      before{"E", "eV", 419.7, 0.3, 160}, beyond{"E", "eV", 435, 0.3, 160},
      broken{"E", "eV", std::nan(""), 0.3, 160};
  for (const Axis& axis : {shifted, stretched, before, beyond, broken}) {
    std::string message = user_error([&] { crop_to_axis(image, axis); });
    EXPECT_NE(message.find("420 to 479.7 eV (200 channels"), std::string::npos) << message;
    EXPECT_NE(message.find("(160 channels"), std::string::npos) << message;
    EXPECT_EQ(image.energy.size, 200);
  }
}

}  // namespace
}  // namespace eelsvae
