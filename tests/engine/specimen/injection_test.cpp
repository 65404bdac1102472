#include "engine/specimen/injection.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "tests/engine/spectra.h"

namespace eelsvae {
namespace {

const Axis axis = {"Energy loss", "eV", 700, 0.3, 120};

// A peak at 717.4 eV (channel 58) on a slope, different in each pixel.
SpectrumImage peaks(int64_t height = 12, int64_t width = 10) {
  return image_of(height, width, axis, [](int64_t y, int64_t x, double ev) {
    return 30 + static_cast<double>(y) - 0.1 * (ev - 700) +
           (5 + static_cast<double>(x)) * gaussian(ev, 717.4, 1.2);
  });
}

int64_t highest(const float* spectrum) {
  return std::max_element(spectrum, spectrum + axis.size) - spectrum;
}

TEST(Injection, FindsTheStrongestPeakOfTheMeanSpectrum) {
  SpectrumImage image = peaks();
  EXPECT_EQ(strongest_peak(image, {710, 725}), 58);
  EXPECT_EQ(strongest_peak(image, {700, 735}), 58);
  EXPECT_EQ(strongest_peak(image, {725, 730}), 84) << "the slope falls";
  image.spectrum(7)[50] += 1e9f;
  EXPECT_EQ(strongest_peak(image, {710, 725}), 50);
  image.excluded.assign(120, 0);
  image.excluded[7] = 1;
  EXPECT_EQ(strongest_peak(image, {710, 725}), 58);
  EXPECT_NE(user_error_of([&] {
              strongest_peak(image, {800, 900});
            }).find("700 to 735.7 eV"),
            std::string::npos);
  image.excluded.assign(120, 1);
  EXPECT_THROW(strongest_peak(image, {710, 725}), UserError);
}

TEST(Injection, RollsAsNumpyDoes) {
  const SpectrumImage before = peaks();
  for (int64_t shift : {1, 8, 33, 40}) {
    SpectrumImage image = before;
    const std::vector<uint8_t> truth = inject_shifts(image, {ShiftMethod::roll, 58, 20, shift, 0.25, 4});
    EXPECT_EQ(std::accumulate(truth.begin(), truth.end(), 0), 30);
    int64_t up = 0;
    for (int64_t pixel = 0; pixel < 120; ++pixel) {
      const float *old = before.spectrum(pixel), *now = image.spectrum(pixel);
      bool same = true, higher = true, lower = true;
      for (int64_t c = 0; c < axis.size; ++c) {
        same &= now[c] == old[c];
        // numpy.roll(a, s)[i] = a[(i - s) mod n]
        const bool inside = c >= 38 && c < 79;
        higher &= now[c] == (inside ? old[38 + (c - 38 - shift + 41) % 41] : old[c]);
        lower &= now[c] == (inside ? old[38 + (c - 38 + shift) % 41] : old[c]);
      }
      if (truth[static_cast<size_t>(pixel)])
        EXPECT_TRUE(higher != lower) << pixel;
      else
        EXPECT_TRUE(same) << pixel;
      up += truth[static_cast<size_t>(pixel)] && higher;
    }
    EXPECT_GT(up, 5);
    EXPECT_LT(up, 25);
  }
}

TEST(Injection, MovesAPeakWithoutWrapping) {
  const SpectrumImage before = peaks();
  for (int64_t shift : {3, 13, 30}) {
    SpectrumImage image = before;
    const std::vector<uint8_t> truth = inject_shifts(image, {ShiftMethod::move_peak, 58, 20, shift, 24, 1});
    EXPECT_EQ(std::accumulate(truth.begin(), truth.end(), 0), 24);
    for (int64_t pixel = 0; pixel < 120; ++pixel) {
      const float *old = before.spectrum(pixel), *now = image.spectrum(pixel);
      if (!truth[static_cast<size_t>(pixel)]) {
        EXPECT_TRUE(std::equal(old, old + axis.size, now));
        continue;
      }
      const int64_t moved = highest(now) > 58 ? shift : -shift;
      // The slope is linear, so that the line is the slope, but for the peak's tails of less than 0.01.
      for (int64_t c = 0; c < axis.size; ++c) {
        const double y = static_cast<double>(pixel / 10), x = static_cast<double>(pixel % 10);
        const double ev = axis.value(static_cast<double>(c));
        const double wanted =
            30 + y - 0.1 * (ev - 700) + (5 + x) * gaussian(ev, 717.4 + 0.3 * static_cast<double>(moved), 1.2);
        ASSERT_NEAR(now[c], wanted, 0.01) << pixel << " " << c;
      }
      EXPECT_NEAR(std::accumulate(now, now + axis.size, 0.0), std::accumulate(old, old + axis.size, 0.0),
                  1e-3);
    }
  }
}

TEST(Injection, SparesExcludedPixelsAndFollowsTheSeed) {
  SpectrumImage image = peaks();
  image.excluded.assign(120, 0);
  std::fill_n(image.excluded.begin(), 80, 1);
  SpectrumImage again = image, other = image;
  const ShiftInjection all = {ShiftMethod::roll, 58, 20, 8, 40, 1};
  const std::vector<uint8_t> truth = inject_shifts(image, all);
  EXPECT_EQ(std::accumulate(truth.begin() + 80, truth.end(), 0), 40);
  EXPECT_EQ(std::accumulate(truth.begin(), truth.begin() + 80, 0), 0);
  inject_shifts(again, all);
  EXPECT_EQ(again.counts, image.counts);
  ShiftInjection few = all;
  few.anomalies = 0.1;
  EXPECT_EQ(std::accumulate(truth.begin(), truth.end(), 0), 40);
  const std::vector<uint8_t> some = inject_shifts(other, few);
  EXPECT_EQ(std::accumulate(some.begin(), some.end(), 0), 4);
  few.seed = 2;
  EXPECT_NE(inject_shifts(other, few), some);
  few.anomalies = 0;
  EXPECT_EQ(inject_shifts(other, few), std::vector<uint8_t>(120));
}

TEST(Injection, RefusesWhatCannotBe) {
  auto message = [](ShiftInjection injection) {
    SpectrumImage image = peaks();
    const std::string text = user_error_of([&] { inject_shifts(image, injection); });
    EXPECT_EQ(image.counts, peaks().counts);
    return text;
  };
  EXPECT_NE(message({ShiftMethod::roll, 58, 20, 0, 1, 0}).find("shift of 0"), std::string::npos);
  EXPECT_NE(message({ShiftMethod::roll, 58, 20, 41, 1, 0}).find("shift of 41"), std::string::npos);
  EXPECT_NE(message({ShiftMethod::roll, 10, 20, 3, 1, 0}).find("channels -10 to 30"), std::string::npos);
  EXPECT_NE(message({ShiftMethod::roll, 110, 20, 3, 1, 0}).find("90 to 130"), std::string::npos);
  EXPECT_NE(message({ShiftMethod::move_peak, 58, 20, 40, 1, 0}).find("-2 to 118"), std::string::npos);
  EXPECT_NE(message({ShiftMethod::move_peak, 58, 4, 3, 1, 0}).find("9 channels"), std::string::npos);
  EXPECT_NE(message({ShiftMethod::roll, 58, 20, 3, 121, 0}).find("only 120 pixels"), std::string::npos);
  EXPECT_NE(message({ShiftMethod::roll, 58, 20, 3, std::nan(""), 0}).find("negative"), std::string::npos);
}

}  // namespace
}  // namespace eelsvae
