#include "engine/prepare/preprocess.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "engine/image/excluded.h"
#include "engine/prepare/binning.h"
#include "engine/prepare/resampling.h"
#include "engine/specimen/simulate.h"
#include "kernels/error.h"
#include "tests/engine/prepare/processor_steps.h"
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

SpectrumImage rows_of(const SpectrumImage& image, int64_t first, int64_t last) {
  return SpectrumImageView(image).rows(first, last).copy();
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

// Strips, threads and mirrored borders must not show: against plain loops in double, along one axis after the
// other, on images of several strips, of one column, and smaller than the filter.
TEST(Filters, StripsAndThreadsDoNotShow) {
  const int before = omp_get_max_threads();
  for (auto [height, width, channels] :
       {std::array<int64_t, 3>{9, 70, 701}, {1, 90, 40}, {30, 1, 40}, {3, 2, 20000}})
    for (double sigma : {0.5, 0.8, 2.0}) {
      const SpectrumImage image = random_image(height, width, channels, 21);
      std::vector<double> expected(image.counts.begin(), image.counts.end());
      const std::array<int64_t, 3> size = {height, width, channels}, step = {width * channels, channels, 1};
      const auto radius = static_cast<int64_t>(4 * sigma + 0.5);
      double sum = 0;
      for (int64_t k = -radius; k <= radius; ++k)
        sum += std::exp(-0.5 * static_cast<double>(k * k) / (sigma * sigma));
      for (size_t axis = 0; axis < 3; ++axis) {
        const std::vector<double> in = expected;
        for (int64_t at = 0; at < std::ssize(in); ++at) {
          const int64_t index = at / step[axis] % size[axis];
          double filtered = 0;
          for (int64_t k = -radius; k <= radius; ++k) {
            int64_t i = (index + k) % (2 * size[axis]);
            if (i < 0) i += 2 * size[axis];
            if (i >= size[axis]) i = 2 * size[axis] - 1 - i;
            filtered += in[static_cast<size_t>(at + (i - index) * step[axis])] *
                        std::exp(-0.5 * static_cast<double>(k * k) / (sigma * sigma)) / sum;
          }
          expected[static_cast<size_t>(at)] = filtered;
        }
      }
      for (int threads : {1, 3}) {
        omp_set_num_threads(threads);
        SpectrumImage filtered = image;
        gaussian_filter(filtered, sigma);
        expect_close(filtered.counts, expected);
      }
    }
  omp_set_num_threads(before);
}

TEST(Filters, SpatialMeanOfMappedCountsIsTheMeanAfterTheMap) {
  PreprocessConfig config;
  for (Scaling method : {Scaling::robust_minmax, Scaling::minmax, Scaling::zscore, Scaling::none}) {
    config.scaling_method = method;
    SpectrumImage mapped = random_image(13, 40, 700, 22), one_by_one = mapped;
    const ScalingParameters scaling = fit_scaling(mapped.counts, config);
    for (int64_t window : {1, 3, 5}) {
      SpectrumImage a = mapped, b = one_by_one;
      spatial_mean(a, window, scaling.linear());
      apply_scaling(scaling, b.counts);
      spatial_mean(b, window);
      EXPECT_EQ(a.counts, b.counts) << static_cast<int>(method) << " " << window;
    }
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
  std::vector<double> found = percentiles_of(reference_image().counts, reference::percents);
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
    std::vector<double> found = percentiles_of(values, percents);
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

// Of more than a million values a few percentiles are found in another way: also where they lie at the ends,
// and where most values are equal.
TEST(Percentiles, OfManyValuesAreThoseOfTheSortedValues) {
  std::mt19937 generator(6);
  std::normal_distribution<float> normal(30, 15);
  std::poisson_distribution<int> poisson(0.3);
  const size_t size = (1u << 20) + 12345;
  std::vector<float> continuous(size), whole(size), mostly(size, 7.0f), ascending(size);
  for (size_t i = 0; i < size; ++i) {
    continuous[i] = normal(generator);
    whole[i] = static_cast<float>(poisson(generator));
    ascending[i] = static_cast<float>(i);
    if (i % 1000 == 5) mostly[i] = -1;
  }
  const std::array<double, 7> percents = {0, 0.001, 1, 50, 50.01, 99, 100};
  for (const std::vector<float>* values : {&continuous, &whole, &mostly, &ascending}) {
    std::vector<float> sorted = *values;
    std::sort(sorted.begin(), sorted.end());
    const std::vector<double> found = percentiles_of(*values, percents);
    for (size_t i = 0; i < percents.size(); ++i) {
      const double position = percents[i] / 100 * static_cast<double>(size - 1);
      const auto below = static_cast<size_t>(position);
      const double low = sorted[below], high = sorted[std::min(below + 1, size - 1)];
      ASSERT_NEAR(found[i], low + (high - low) * (position - static_cast<double>(below)),
                  1e-15 * std::max(std::abs(low), std::abs(high)))
          << percents[i];
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
  ScalingParameters scaling = fit_scaling(image.counts, config);
  apply_scaling(scaling, image.counts);
  expect_close(image.counts, *GetParam().expected);
}

TEST_P(ScalingMethods, AreReversibleWithinTheirLimits) {
  PreprocessConfig config = off();
  config.scaling_method = GetParam().method;
  CountArray counts = random_image(4, 4, 128, 11).counts;
  ScalingParameters scaling = fit_scaling(counts, config);
  CountArray scaled = counts;
  apply_scaling(scaling, scaled);
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
  apply_scaling(fit_scaling(fitted_on, config), counts);
  expect_close(counts, reference::quantile_of_others);
}

TEST(Scaling, QuantileMapOfMoreValuesThanQuantilesIsMonotoneAndUniform) {
  CountArray counts = random_image(8, 8, 512, 12).counts;
  PreprocessConfig config = off();
  config.scaling_method = Scaling::quantile;
  ScalingParameters scaling = fit_scaling(counts, config);
  EXPECT_EQ(scaling.quantiles.size(), 1000u);
  std::sort(counts.begin(), counts.end());
  apply_scaling(scaling, counts);
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
    EXPECT_NE(user_error([&] { fit_scaling(counts, config); }).find("equal"), std::string::npos)
        << static_cast<int>(method);
  }
  // One count in ten thousand differs: nothing between the percentiles, but extremes to scale by.
  std::vector<float> counts(10000, 3.0f);
  counts[77] = 9;
  PreprocessConfig config = off();
  config.scaling_method = Scaling::robust_minmax;
  EXPECT_THROW(fit_scaling(counts, config), UserError);
  config.scaling_method = Scaling::minmax;
  EXPECT_NO_THROW(fit_scaling(counts, config));
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

TEST(Reduce, SaysThatARangeReachesBeyondTheAxis) {
  const SpectrumImage image = random_image(8, 8, 64, 1);  // 420 to 438.9 eV
  for (const double despike : {0.0, 30.0}) {
    PreprocessConfig config = off();
    config.despike = despike;
    const auto notes_of = [&](std::array<double, 2> range) {
      std::vector<std::string> notes = reduce(image, config, range).notes;
      std::erase_if(notes, [](const std::string& note) { return note.find("beyond") == std::string::npos; });
      return notes;
    };
    EXPECT_TRUE(notes_of({420, 438.9}).empty());
    EXPECT_TRUE(notes_of({419.9, 439}).empty()) << "half a channel is rounding";
    ASSERT_EQ(notes_of({400, 430}).size(), 1u);
    EXPECT_NE(notes_of({400, 430})[0].find("400 to 430 eV"), std::string::npos) << notes_of({400, 430})[0];
    EXPECT_EQ(notes_of({430, 500}).size(), 1u);
  }
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
  EXPECT_NE(message.find("2 pixels hold counts that are not finite (NaN or infinite), the first at (y, x, "
                         "channel) = (1, 2, 5)"),
            std::string::npos)
      << message;
}

TEST(Prepare, AppliesAModelsScalingToOtherData) {
  PreprocessConfig config;
  const PreparedImage training = prepare(random_image(6, 6, 64, 5), config, std::nullopt);
  const FittedPreprocess fitted{training.image.energy, training.scaling, std::nullopt};
  SpectrumImage brighter = random_image(6, 6, 64, 6);
  for (float& count : brighter.counts) count += 20;
  PreparedImage own = prepare(brighter, config, std::nullopt),
                models = prepare(brighter, config, std::nullopt, &fitted);
  EXPECT_EQ(models.scaling, fitted.scaling);
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

// A film whose O K edge drifts by up to two channels, with an X-ray hit in pixel (9, 4), on a taller image.
SpectrumImage drifting_film(uint64_t seed, double moved_ev) {
  SimulationSettings settings;
  settings.height = 26;
  settings.width = 24;
  settings.channels = 700;
  settings.exposure = 50;
  settings.anomalies = 0;
  settings.seed = seed;
  SpectrumImage image = simulate(settings).image;
  std::vector<double> drift_ev(static_cast<size_t>(image.pixels()));
  for (size_t i = 0; i < drift_ev.size(); ++i)
    drift_ev[i] = moved_ev + 0.6 * std::sin(static_cast<double>(i));
  move_spectra(image, drift_ev);
  image.spectrum(9 * 24 + 4)[100] += 1e5f;
  return image;
}

PreprocessConfig every_step() {
  PreprocessConfig config;
  config.crop_y = {{2, 26}};
  config.despike = 8;
  config.align = Align::feature;
  config.align_window = {{525, 560}};
  config.bin_xy = 2;
  config.bin_energy = 4;
  return config;
}

TEST(Reduce, TakesItsStepsInOrderAndSaysSo) {
  const std::array<double, 2> range = {440, 600};
  const SpectrumImage film = drifting_film(1, 0);
  const ReducedImage reduced = reduce(film, every_step(), range);
  ASSERT_EQ(reduced.spikes.size(), 1u);
  // Pixels and channels are those of the image as it was given.
  EXPECT_EQ(reduced.spikes[0].y, 9);
  EXPECT_EQ(reduced.spikes[0].x, 4);
  EXPECT_EQ(reduced.spikes[0].channel, 100);
  ASSERT_EQ(reduced.shifts_ev.size(), 24u * 24u);
  ASSERT_TRUE(reduced.alignment);
  EXPECT_EQ(reduced.image.y.size, 12);
  EXPECT_EQ(reduced.image.energy.size, 133);  // 534 channels in the range
  EXPECT_NEAR(reduced.image.energy.offset, 440.1 + 1.5 * 0.3, 1e-9);
  ASSERT_EQ(reduced.notes.size(), 3u);
  EXPECT_NE(reduced.notes[0].find("1 channel replaced in 1 of 576 spectra: y 9, x 4 at 450 eV"),
            std::string::npos)
      << reduced.notes[0];
  EXPECT_NE(reduced.notes[1].find("align: spectra shifted by"), std::string::npos) << reduced.notes[1];
  EXPECT_NE(reduced.notes[2].find("2 channels at the high-energy end left out"), std::string::npos)
      << reduced.notes[2];

  // The same by hand.
  SpectrumImage image = film;
  image = rows_of(image, 2, 26);
  remove_spikes(image, 8);
  move_spectra(image, measure_shifts(image, every_step()).ev);
  crop_energy(image, channels_within(image.energy, range));
  bin(image, 2, 4);
  EXPECT_EQ(reduced.image.counts, image.counts);
  EXPECT_EQ(reduced.image.energy, image.energy);
}

// An image of which parts are read, as from a file, and what was read of it.
ImageToRead on_file(const SpectrumImage& image, std::vector<ImagePart>& read) {
  SpectrumImage headers = image;
  headers.counts = {};
  return {headers, [&image, &read](const ImagePart& part, CountArray& counts) {
            read.push_back(part);
            bool finite = true;
            for (int64_t y = part.y[0]; y < part.y[1]; ++y)
              for (int64_t x = part.x[0]; x < part.x[1]; ++x)
                for (int64_t e = part.energy.first; e < part.energy.last; ++e) {
                  counts.push_back(image.spectrum(y * image.x.size + x)[e]);
                  finite = finite && std::isfinite(counts.back());
                }
            return finite;
          }};
}

TEST(Reduce, ReadsWhatItNeedsAndGivesTheSameBits) {
  SpectrumImage film = drifting_film(5, 0);
  film.excluded.assign(static_cast<size_t>(film.pixels()), 0);
  film.excluded[static_cast<size_t>(film.x.size * 3 + 4)] = 1;
  film.spectrum(film.x.size * 3 + 4)[2] = NAN;
  PreprocessConfig crop;
  crop.crop_y = {{2, 20}};
  crop.crop_x = {{1, 17}};
  crop.bin_xy = 2;
  crop.bin_energy = 3;
  PreprocessConfig despike = crop, align = every_step();
  despike.despike = 8;
  const std::array<double, 2> range = {film.energy.value(10), film.energy.value(73)};
  const Axis whole_axis = film.energy;
  for (const PreprocessConfig& config : {PreprocessConfig{}, crop, despike, align})
    for (const auto& energies : {std::optional(range), std::optional<std::array<double, 2>>()}) {
      std::vector<ImagePart> read;
      const ReducedImage a = reduce(film, config, energies),
                         b = reduce(on_file(film, read), config, energies);
      EXPECT_EQ(a.image.counts, b.image.counts);
      EXPECT_EQ(a.image.excluded, b.image.excluded);
      EXPECT_EQ(a.image.y, b.image.y);
      EXPECT_EQ(a.image.x, b.image.x);
      EXPECT_EQ(a.image.energy, b.image.energy);
      EXPECT_EQ(a.notes, b.notes);
      ASSERT_EQ(read.size(), 1u);
      EXPECT_EQ(read[0].y, config.crop_y.value_or(std::array<int64_t, 2>{0, film.y.size}));
      EXPECT_EQ(read[0].x, config.crop_x.value_or(std::array<int64_t, 2>{0, film.x.size}));
      // Spikes and shifts are looked for over the whole axis.
      const bool part = energies && config.despike == 0 && config.align == Align::none;
      EXPECT_EQ(read[0].energy, (part ? ChannelWindow{10, 74} : ChannelWindow{0, whole_axis.size}));
    }
}

// Cubes of more lie in scratch files while it lives, GB.
class CubeMemory {
 public:
  explicit CubeMemory(double gigabytes) {
    setenv("EELSVAE_CUBE_MEMORY", std::to_string(gigabytes).c_str(), 1);
  }
  ~CubeMemory() { unsetenv("EELSVAE_CUBE_MEMORY"); }
};

TEST(Reduce, BinsWhileItReadsWhatIsTooLargeAndGivesTheSameBits) {
  SpectrumImage film = random_image(23, 21, 100, 4);
  film.excluded.assign(static_cast<size_t>(film.pixels()), 0);
  film.excluded[21 * 3 + 4] = by_request;
  film.spectrum(21 * 3 + 4)[20] = NAN;
  const auto fill = [&](int64_t y, int64_t x, float count) {
    std::fill_n(film.spectrum(21 * y + x), 100, count);
  };
  fill(7, 7, 0);
  fill(22, 20, 0);                                        // in no bin
  std::fill_n(film.spectrum(21 * 12 + 3) + 40, 5, 1000);  // saturated
  PreprocessConfig config;
  config.crop_y = {{1, 23}};
  config.bin_xy = 3;
  config.bin_energy = 2;
  const std::array<double, 2> range = {film.energy.value(10), film.energy.value(72)};
  std::vector<ImagePart> read;
  const ReducedImage whole = reduce(film, config, range);
  {
    const CubeMemory memory(0.0001);  // of 0.000116 GB: room for four rows and a half in a quarter of it
    const ReducedImage by_rows = reduce(on_file(film, read), config, range);
    EXPECT_EQ(by_rows.image.counts, whole.image.counts);
    EXPECT_EQ(by_rows.image.excluded, whole.image.excluded);
    EXPECT_EQ(by_rows.image.y, whole.image.y);
    EXPECT_EQ(by_rows.image.x, whole.image.x);
    EXPECT_EQ(by_rows.image.energy, whole.image.energy);
    EXPECT_EQ(by_rows.notes, whole.notes);
    EXPECT_EQ(whole.notes.size(), 2u);
    EXPECT_EQ(read.size(), 8u);
    EXPECT_EQ(read.at(1).y, (std::array<int64_t, 2>{4, 7}));
    // In whatever blocks a file unpacks it.
    for (const std::array<int64_t, 3> together : std::vector<std::array<int64_t, 3>>{
             {1, 21, 100}, {5, 4, 100}, {23, 4, 7}, {23, 21, 1}, {23, 21, 100}}) {
      ImageToRead chunked = on_file(film, read);
      chunked.together = [together] { return together; };
      const ReducedImage by_blocks = reduce(chunked, config, range);
      EXPECT_EQ(by_blocks.image.counts, whole.image.counts);
      EXPECT_EQ(by_blocks.image.excluded, whole.image.excluded);
      EXPECT_EQ(by_blocks.notes, whole.notes);
    }
    // What is not finite is named as without.
    film.spectrum(21 * 15 + 2)[30] = NAN;
    const std::string error = user_error([&] { reduce(on_file(film, read), config, range); });
    EXPECT_EQ(error, user_error([&] { reduce(film, config, range); }));
    EXPECT_NE(error.find("1 pixel holds counts that are not finite"), std::string::npos) << error;
  }
}

// What beyond the channels that are used is not finite is not looked at, and not complained of.
TEST(Reduce, ReadsAModelsChannels) {
  SpectrumImage image = random_image(3, 4, 50, 3);
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel) image.spectrum(pixel)[49] = NAN;
  PreprocessConfig config;
  config.set_aside = 0;
  FittedPreprocess fitted;
  fitted.energy = image.energy;
  fitted.energy.offset = image.energy.value(17);
  fitted.energy.size = 16;
  std::vector<ImagePart> read;
  const ReducedImage reduced = reduce(on_file(image, read), config, std::nullopt, &fitted);
  ASSERT_EQ(read.size(), 1u);
  EXPECT_EQ(read[0].energy, (ChannelWindow{17, 33}));
  EXPECT_EQ(reduced.image.counts[0], image.counts[17]);
  EXPECT_EQ(reduced.notes, std::vector<std::string>{});
  EXPECT_NE(user_error([&] { reduce(on_file(image, read), config, std::nullopt); }).find("not finite"),
            std::string::npos);
}

TEST(Reduce, ByDefaultOnlyCropsTheEnergyRange) {
  const SpectrumImage image = random_image(3, 4, 50, 3);
  const ReducedImage untouched = reduce(image, PreprocessConfig{}, std::nullopt);
  EXPECT_EQ(untouched.image.counts, image.counts);
  EXPECT_TRUE(untouched.notes.empty());
  EXPECT_TRUE(untouched.spikes.empty());
  EXPECT_FALSE(untouched.alignment);
  EXPECT_EQ(reduce(image, PreprocessConfig{}, std::array<double, 2>{423, 426}).image.energy.size, 11);
  EXPECT_NE(user_error([&] {
              reduce(image, PreprocessConfig{}, std::array<double, 2>{500, 600});
            }).find("data.energy_range"),
            std::string::npos);
}

// A zero-loss peak in the image itself calibrates the axis: 0 eV is a channel's centre, whatever was written.
TEST(Reduce, BringsTheZeroLossPeakToZero) {
  PreprocessConfig config = off();
  config.align = Align::zero_loss;
  SpectrumImage image = make_image(6, 5, 256);
  image.energy = {"E", "eV", -7.03, 0.1, 256};
  for (int64_t pixel = 0; pixel < 30; ++pixel)
    for (int64_t e = 0; e < 256; ++e) {
      const double ev =
          image.energy.value(static_cast<double>(e)) - 1.27 - 0.11 * std::sin(static_cast<double>(pixel));
      image.spectrum(pixel)[e] = static_cast<float>(1e4 * std::exp(-0.5 * ev * ev / 0.09));
    }
  const ReducedImage reduced = reduce(image, config, std::nullopt);
  EXPECT_NEAR(reduced.image.energy.offset, -8.3, 1e-9);
  for (int64_t pixel = 0; pixel < 30; ++pixel)
    for (int64_t e = 60; e < 100; ++e) {
      const double ev = -8.3 + 0.1 * static_cast<double>(e);
      ASSERT_NEAR(reduced.image.spectrum(pixel)[e], 1e4 * std::exp(-0.5 * ev * ev / 0.09), 25) << ev;
    }
  EXPECT_EQ(reduced.alignment->energy_ev, 0);
  EXPECT_NE(reduced.notes[0].find("starts at -8.3 eV"), std::string::npos) << reduced.notes[0];
}

// Dual EELS: the drift is seen in the low-loss image, on another dispersion.
TEST(Reduce, AppliesTheDriftOfALowLossImage) {
  PreprocessConfig config = off();
  config.align = Align::zero_loss;
  config.crop_x = {{1, 5}};
  auto drift = [](int64_t pixel) { return 0.4 * std::sin(1.7 * static_cast<double>(pixel)); };
  auto image_with_peak = [&](Axis energy, double at) {
    SpectrumImage image = make_image(6, 5, energy.size);
    image.energy = energy;
    for (int64_t pixel = 0; pixel < 30; ++pixel)
      for (int64_t e = 0; e < energy.size; ++e) {
        const double ev = energy.value(static_cast<double>(e)) - at - drift(pixel);
        image.spectrum(pixel)[e] = static_cast<float>(1e4 * std::exp(-0.5 * ev * ev / 0.64));
      }
    return image;
  };
  const SpectrumImage core = image_with_peak({"E", "eV", 500, 0.3, 128}, 520);
  const ReducedImage reduced =
      reduce(core, config, std::nullopt, nullptr, image_with_peak({"E", "eV", -10, 0.05, 500}, 0.7));
  EXPECT_EQ(reduced.image.energy, core.energy);
  // All spectra are alike now; which one they are like depends on the median drift.
  const double place = reduced.alignment->energy_ev - 0.7;
  for (int64_t pixel = 0; pixel < 24; ++pixel)
    for (int64_t e = 10; e < 118; ++e) {
      const double ev = 500 + 0.3 * static_cast<double>(e) - 520 - place;
      ASSERT_NEAR(reduced.image.spectrum(pixel)[e], 1e4 * std::exp(-0.5 * ev * ev / 0.64), 30);
    }
  const std::string message = user_error([&] {
    reduce(core, config, std::nullopt, nullptr,
           rows_of(image_with_peak({"E", "eV", -10, 0.05, 500}, 0.7), 0, 5));
  });
  EXPECT_NE(message.find("preprocess.align_path has 5 x 5 pixels and the image 6 x 5"), std::string::npos)
      << message;
}

TEST(Reduce, RefusesCountsThatAreNotFiniteBeforeItReadsThemIfTheyAreUsed) {
  for (int which : {0, 1}) {
    PreprocessConfig config = off();
    if (which == 0) config.despike = 8;
    if (which == 1) {
      config.align = Align::feature;
      config.align_window = {{422, 430}};
    }
    SpectrumImage image = random_image(3, 4, 64, 4);
    image.spectrum(1 * 4 + 2)[63] = std::numeric_limits<float>::quiet_NaN();
    const std::string message = user_error([&] { reduce(image, config, std::array<double, 2>{420, 440}); });
    EXPECT_NE(message.find("(y, x, channel) = (1, 2, 63)"), std::string::npos) << message;
    if (which == 0) {
      EXPECT_EQ(reduce(image, config, std::array<double, 2>{420, 430}).image.energy.size, 34);
    }
  }
}

TEST(Reduce, CarriesExcludedPixelsAndMasksAlong) {
  PreprocessConfig config = every_step();
  SpectrumImage image = drifting_film(1, 0);
  image.excluded.assign(26 * 24, 0);
  image.excluded[5 * 24 + 7] = 1;
  const std::vector<uint8_t> mask = image.excluded;
  const ReducedImage reduced = reduce(image, config, std::nullopt);
  ASSERT_EQ(reduced.image.excluded.size(), 144u);
  for (size_t i = 0; i < 144; ++i) EXPECT_EQ(reduced.image.excluded[i], i == 1 * 12 + 3 ? 1 : 0) << i;
  EXPECT_EQ(reduce_mask(mask, 26, 24, config), reduced.image.excluded);
  EXPECT_EQ(reduce_mask(mask, 26, 24, PreprocessConfig{}), mask);
}

// The same film 0.9 eV further up and on an axis that starts 12 channels lower must look the same to a model.
TEST(Prepare, BringsAnotherImageToTheModelsEnergies) {
  const PreprocessConfig config = every_step();
  const PreparedImage training = prepare(drifting_film(1, 0), config, std::array<double, 2>{440, 600});
  EXPECT_EQ(training.image.energy.size % 16, 0);
  const FittedPreprocess fitted{training.image.energy, training.scaling, training.alignment};

  SpectrumImage other = drifting_film(1, 0.9);
  const PreparedImage seen = prepare(other, config, std::nullopt, &fitted);
  EXPECT_EQ(seen.image.energy.size, training.image.energy.size);
  EXPECT_NEAR(seen.image.energy.offset, training.image.energy.offset, 1e-9);
  double difference = 0, unaligned = 0;
  PreprocessConfig without = config;
  without.align = Align::none;
  const PreparedImage off_by = prepare(other, without, std::nullopt, &fitted);
  for (size_t i = 0; i < seen.image.counts.size(); ++i) {
    difference += std::abs(seen.image.counts[i] - training.image.counts[i]);
    unaligned += std::abs(off_by.image.counts[i] - training.image.counts[i]);
  }
  EXPECT_LT(difference, 0.2 * unaligned);

  crop_energy(other, {0, 500});  // too short now
  EXPECT_NE(
      user_error([&] { prepare(other, config, std::nullopt, &fitted); }).find("does not hold the model's"),
      std::string::npos);
}

TEST(Prepare, EveryStepDoesNotDependOnTheNumberOfThreads) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const PreparedImage one = prepare(drifting_film(2, 0), every_step(), std::nullopt);
  omp_set_num_threads(3);
  const PreparedImage three = prepare(drifting_film(2, 0), every_step(), std::nullopt);
  omp_set_num_threads(before);
  EXPECT_EQ(one.image.counts, three.image.counts);
  EXPECT_EQ(one.alignment, three.alignment);
  EXPECT_EQ(one.scaling, three.scaling);
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

TEST(ChannelsOfModel, AreFoundOnTheImagesAxis) {
  const SpectrumImage image = random_image(2, 3, 200, 9);
  // Off by a twentieth of a channel, as after reading an axis written with few digits.
  EXPECT_EQ(channels_of_model(image.energy, {"E", "eV", 420 + 0.3 * 17 + 0.015, 0.3, 160}),
            (ChannelWindow{17, 177}));
}

TEST(ChannelsOfModel, AMistakeNamesBothAxes) {
  const SpectrumImage image = random_image(2, 3, 200, 10);  // 420 to 479.7 eV
  const Axis shifted{"E", "eV", 425.1 + 0.06, 0.3, 160}, stretched{"E", "eV", 425.1, 0.301, 160},
      before{"E", "eV", 419.7, 0.3, 160}, beyond{"E", "eV", 435, 0.3, 160},
      broken{"E", "eV", std::nan(""), 0.3, 160};
  for (const Axis& axis : {shifted, stretched, before, beyond, broken}) {
    std::string message = user_error([&] { channels_of_model(image.energy, axis); });
    EXPECT_NE(message.find("420 to 479.7 eV (200 channels"), std::string::npos) << message;
    EXPECT_NE(message.find("(160 channels"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace eelsvae
