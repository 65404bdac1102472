#include "engine/prepare/set_aside.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "engine/image/excluded.h"
#include "engine/prepare/preprocess.h"

namespace eelsvae {
namespace {

constexpr int64_t side = 40, channels = 64;
constexpr ChannelWindow whole{0, channels};

// Poisson counts of 100 a channel, of `of_dark` in those pixels of which dark(y, x) holds.
template <typename Dark>
SpectrumImage scan(double of_dark, Dark dark, uint32_t seed = 1) {
  SpectrumImage image;
  image.y = {"y", "nm", 0, 1, side};
  image.x = {"x", "nm", 0, 1, side};
  image.energy = {"Energy loss", "eV", 500, 1, channels};
  std::mt19937 generator(seed);
  for (int64_t pixel = 0; pixel < side * side; ++pixel) {
    // A mean of 0 is none that the library allows.
    std::poisson_distribution<int> counts(std::max(dark(pixel / side, pixel % side) ? of_dark : 100, 1e-9));
    for (int64_t e = 0; e < channels; ++e) image.counts.push_back(static_cast<float>(counts(generator)));
  }
  return image;
}

TEST(SetAside, VacuumIsFoundHoweverLargeItsPart) {
  for (int64_t columns : {1, 20, 32, 36}) {
    SpectrumImage image = scan(2, [&](int64_t, int64_t x) { return x < columns; });
    const SetAside found = set_aside_pixels(image, whole, 0.05);
    EXPECT_EQ(found.dark, side * columns) << columns;
    EXPECT_EQ(found.all(), found.dark);
    for (int64_t pixel = 0; pixel < side * side; ++pixel)
      ASSERT_EQ(image.excluded[static_cast<size_t>(pixel)], pixel % side < columns ? without_counts : 0);
  }
}

TEST(SetAside, AThinSpecimenIsNotVacuum) {
  SpectrumImage image = scan(10, [](int64_t y, int64_t) { return y < 20; });
  EXPECT_EQ(set_aside_pixels(image, whole, 0.05).all(), 0);
  EXPECT_TRUE(image.excluded.empty());
  EXPECT_EQ(set_aside_pixels(image, whole, 0.2).dark, 20 * side) << "unless it is asked for";
}

TEST(SetAside, UnscannedAndDeadPixelsHoldOneNumber) {
  SpectrumImage image = scan(0, [](int64_t, int64_t x) { return x >= 36; });
  std::fill_n(image.spectrum(5), channels, 100.0f);
  std::fill_n(image.spectrum(7), channels, -3.0f);
  const SetAside found = set_aside_pixels(image, whole, 0.05);
  EXPECT_EQ(found.constant, 4 * side + 2);
  EXPECT_EQ(found.all(), found.constant);
  EXPECT_EQ(excluded_pixels(image.excluded, without_counts), 4 * side + 2);
}

TEST(SetAside, SaturatedPixelsRepeatTheHighestCount) {
  SpectrumImage image = scan(0, [](int64_t, int64_t) { return false; });
  for (int64_t e = 20; e < 26; ++e) image.spectrum(9)[e] = image.spectrum(11)[e] = 4095;
  image.spectrum(13)[3] = 4095;  // once is no clipping
  const SetAside found = set_aside_pixels(image, whole, 0.05);
  EXPECT_EQ(found.saturated, 2);
  EXPECT_EQ(found.all(), 2);
  EXPECT_EQ(image.excluded[9], saturated);
  EXPECT_EQ(image.excluded[13], 0);
}

TEST(SetAside, NoiseIsNotTakenForVacuum) {
  // A signal of a twentieth of its noise: a spectrum's total is 0 as often as not.
  SpectrumImage image = scan(0, [](int64_t, int64_t) { return false; });
  std::mt19937 generator(3);
  std::normal_distribution<float> noise(1, 20);
  for (float& counts : image.counts) counts = noise(generator);
  EXPECT_EQ(set_aside_pixels(image, whole, 0.05).all(), 0);
  // A background was subtracted.
  for (float& counts : image.counts) counts -= 100;
  EXPECT_EQ(set_aside_pixels(image, whole, 0.05).all(), 0);
}

TEST(SetAside, LooksAtTheWindowAlone) {
  SpectrumImage image = scan(2, [](int64_t, int64_t x) { return x < 10; });
  // The zero-loss peak is the brightest in vacuum.
  for (int64_t pixel = 0; pixel < side * side; ++pixel)
    image.spectrum(pixel)[0] = pixel % side < 10 ? 1e6f : 5e5f;
  EXPECT_EQ(set_aside_pixels(image, whole, 0.05).all(), 0);
  EXPECT_EQ(set_aside_pixels(image, {1, channels}, 0.05).dark, 10 * side);
}

TEST(SetAside, SomethingIsAlwaysLeft) {
  SpectrumImage image = scan(0, [](int64_t, int64_t) { return true; });
  EXPECT_EQ(set_aside_pixels(image, whole, 0.05).all(), 0);
  image.counts.assign(image.counts.size(), std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(set_aside_pixels(image, whole, 0.05).all(), 0) << "others refuse such counts";
}

TEST(SetAside, WhatUsersExcludeStaysTheirs) {
  SpectrumImage image = scan(2, [](int64_t, int64_t x) { return x < 10; });
  image.excluded.assign(side * side, 0);
  image.excluded[3] = image.excluded[30] = by_request;
  EXPECT_EQ(set_aside_pixels(image, whole, 0.05).dark, 10 * side - 1);
  EXPECT_EQ(excluded_pixels(image.excluded, by_request), 2);
  EXPECT_EQ(excluded_pixels(image.excluded), 10 * side + 1);
}

TEST(SetAside, IsAStepOfPreprocessing) {
  PreprocessConfig config;
  SpectrumImage image = scan(2, [](int64_t, int64_t x) { return x < 10; });
  PreparedImage prepared = prepare(image, config, std::nullopt);
  EXPECT_EQ(excluded_pixels(prepared.image.excluded, without_counts), 10 * side);
  for (int64_t e = 0; e < channels; ++e) ASSERT_EQ(prepared.image.spectrum(0)[e], 0);
  ASSERT_EQ(prepared.notes.size(), 1u);
  EXPECT_EQ(
      prepared.notes[0],
      "400 pixels set aside: 400 with less than 5 % of the brightest ones' counts (vacuum); they are neither "
      "learnt from nor scored (preprocess.set_aside=0 keeps them)");
  // Neither scaling nor filters see them.
  SpectrumImage other = image;
  for (int64_t pixel = 0; pixel < side * side; ++pixel)
    if (pixel % side < 10)
      for (int64_t e = 0; e < channels; ++e) other.spectrum(pixel)[e] *= 2;
  EXPECT_EQ(prepare(other, config, std::nullopt).image.counts, prepared.image.counts);
  config.bin_xy = 4;  // a bin that holds any of them is set aside
  EXPECT_EQ(excluded_pixels(prepare(image, config, std::nullopt).image.excluded, without_counts), 3 * 10);
  config = {};
  config.set_aside = 0;
  EXPECT_EQ(excluded_pixels(prepare(image, config, std::nullopt).image.excluded), 0);
}

}  // namespace
}  // namespace eelsvae
