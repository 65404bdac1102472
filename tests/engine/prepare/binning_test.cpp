#include "engine/prepare/binning.h"

#include <gtest/gtest.h>

#include "engine/image/excluded.h"
#include "tests/engine/spectra.h"

namespace eelsvae {
namespace {

const Axis axis = {"E", "eV", 100, 0.5, 37};

SpectrumImage whole_counts(int64_t height, int64_t width) {
  return image_of(height, width, axis, [](int64_t y, int64_t x, double ev) {
    return static_cast<double>((y * 7919 + x * 104729 + static_cast<int64_t>(ev * 2) * 31) % 10007);
  });
}

TEST(Bin, AddsUpExactlyAndKeepsTrackOfTheAxes) {
  for (auto [pixels, channels] : {std::pair<int64_t, int64_t>{1, 4}, {2, 1}, {3, 5}, {5, 37}}) {
    const SpectrumImage before = whole_counts(7, 11);
    SpectrumImage image = before;
    bin(image, pixels, channels);
    ASSERT_EQ(image.y.size, 7 / pixels);
    ASSERT_EQ(image.x.size, 11 / pixels);
    ASSERT_EQ(image.energy.size, 37 / channels);
    ASSERT_EQ(image.counts.size(), static_cast<size_t>(image.pixels() * image.energy.size));
    for (int64_t y = 0; y < image.y.size; ++y)
      for (int64_t x = 0; x < image.x.size; ++x)
        for (int64_t e = 0; e < image.energy.size; ++e) {
          double sum = 0;
          for (int64_t j = 0; j < pixels; ++j)
            for (int64_t i = 0; i < pixels; ++i)
              for (int64_t k = 0; k < channels; ++k)
                sum += static_cast<double>(
                    before.spectrum((y * pixels + j) * 11 + x * pixels + i)[e * channels + k]);
          ASSERT_EQ(static_cast<double>(image.spectrum(y * image.x.size + x)[e]), sum);
        }
    // The centre of the first bin is the mean of its channels' energies.
    EXPECT_DOUBLE_EQ(image.energy.offset, 100 + 0.5 * 0.5 * static_cast<double>(channels - 1));
    EXPECT_DOUBLE_EQ(image.energy.scale, 0.5 * static_cast<double>(channels));
    EXPECT_DOUBLE_EQ(image.y.offset, 10 + 0.5 * 0.5 * static_cast<double>(pixels - 1));
    EXPECT_DOUBLE_EQ(image.x.scale, 0.5 * static_cast<double>(pixels));
  }
}

TEST(Bin, OneChangesNothing) {
  SpectrumImage image = whole_counts(3, 4);
  bin(image, 1, 1);
  EXPECT_EQ(image.counts, whole_counts(3, 4).counts);
  EXPECT_EQ(image.energy, axis);
}

TEST(Bin, ABinWithAnExcludedPixelIsExcluded) {
  SpectrumImage image = whole_counts(5, 4);
  image.excluded.assign(20, 0);
  image.excluded[1 * 4 + 2] = by_request;
  image.excluded[1 * 4 + 3] = without_counts;
  image.excluded[4 * 4 + 0] = 1;  // in the row that is left out
  bin(image, 2, 1);
  EXPECT_EQ(image.excluded, (std::vector<uint8_t>{0, by_request | without_counts, 0, 0}));
}

TEST(Bin, LargerThanTheImageIsAUserError) {
  SpectrumImage image = whole_counts(5, 4);
  EXPECT_NE(user_error_of([&] { bin(image, 5, 1); }).find("preprocess.bin_xy is 5"), std::string::npos);
  EXPECT_NE(user_error_of([&] { bin(image, 1, 38); }).find("1 and the 37 channels"), std::string::npos);
  EXPECT_THROW(bin(image, 0, 1), UserError);
  EXPECT_EQ(image.counts, whole_counts(5, 4).counts);
}

TEST(TakePart, KeepsItsCoordinates) {
  const SpectrumImage before = whole_counts(6, 9);
  SpectrumImage image = before;
  image.excluded.assign(54, 0);
  image.excluded[2 * 9 + 3] = image.excluded[0] = 7;
  bool known_finite = true;
  image = take_part(image, {{2, 5}, {3, 9}, {4, axis.size - 1}}, known_finite);
  EXPECT_FALSE(known_finite);
  ASSERT_EQ(image.y.size, 3);
  ASSERT_EQ(image.x.size, 6);
  EXPECT_DOUBLE_EQ(image.y.offset, 11);
  EXPECT_DOUBLE_EQ(image.x.offset, 21.5);
  EXPECT_EQ(image.energy.offset, axis.value(4));
  ASSERT_EQ(image.energy.size, axis.size - 5);
  ASSERT_EQ(image.counts.size(), static_cast<size_t>(18 * image.energy.size));
  for (int64_t y = 0; y < 3; ++y)
    for (int64_t x = 0; x < 6; ++x) {
      for (int64_t e = 0; e < image.energy.size; ++e)
        ASSERT_EQ(image.spectrum(y * 6 + x)[e], before.spectrum((y + 2) * 9 + x + 3)[e + 4]);
      EXPECT_EQ(image.excluded[static_cast<size_t>(y * 6 + x)] != 0, y == 0 && x == 0);
    }
}

TEST(CheckedRange, ARangeOutsideTheImageIsAUserError) {
  for (std::array<int64_t, 2> range : {std::array<int64_t, 2>{0, 7}, {-1, 3}, {4, 4}, {5, 2}})
    EXPECT_NE(user_error_of([&] { checked_range(range, 6, "crop_y"); }).find("preprocess.crop_y"),
              std::string::npos);
  EXPECT_NE(user_error_of([&] {
              checked_range(std::array<int64_t, 2>{3, 10}, 9, "crop_x");
            }).find("preprocess.crop_x is [3, 10]"),
            std::string::npos);
  EXPECT_EQ(checked_range(std::nullopt, 9, "crop_x"), (std::array<int64_t, 2>{0, 9}));
}

}  // namespace
}  // namespace eelsvae
