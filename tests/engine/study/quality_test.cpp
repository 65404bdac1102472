#include "engine/study/quality.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <limits>

#include "kernels/philox.h"
#include "tests/engine/spectra.h"
#include "tests/fixtures/quality_reference.h"

namespace eelsvae {
namespace {

namespace reference = quality_reference;

SpectrumImage reference_image() {
  SpectrumImage image;
  image.y.size = reference::height;
  image.x.size = reference::width;
  image.energy.size = reference::channels;
  image.counts.assign(reference::observed.begin(), reference::observed.end());
  return image;
}
const std::vector<float> reference_expected(reference::expected.begin(), reference::expected.end());

TEST(ReconstructionQuality, IsWhatScikitImageAndNumpyCompute) {
  const ReconstructionQuality quality =
      reconstruction_quality(reference_image(), reference_expected, {9, 2.7}, 3);
  EXPECT_NEAR(quality.psnr_db.value(), reference::psnr_db, 1e-6);
  EXPECT_NEAR(quality.ssim_map.value(), reference::ssim_map, 1e-6);
  EXPECT_NEAR(quality.ssim_channels.value(), reference::ssim_channels, 1e-6);
  EXPECT_NEAR(quality.reduced_deviance, reference::reduced_deviance, 1e-6);
  ASSERT_EQ(quality.residual_autocorrelation.size(), 3u);
  for (size_t lag = 0; lag < 3; ++lag)
    EXPECT_NEAR(quality.residual_autocorrelation[lag], reference::autocorrelation[lag], 1e-6);
}

TEST(ReconstructionQuality, DoesNotDependOnExcludedPixelsNorOnThreads) {
  // The reference image with a row and a column of nonsense around its end.
  const SpectrumImage small = reference_image();
  SpectrumImage image;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  image.y.size = small.y.size + 1;
  image.x.size = small.x.size + 1;
  image.energy = small.energy;
  image.counts.assign(static_cast<size_t>(image.pixels() * image.energy.size), nan);
  image.excluded.assign(static_cast<size_t>(image.pixels()), 1);
  std::vector<float> expected(image.counts.size(), 1e30f);
  for (int64_t pixel = 0; pixel < small.pixels(); ++pixel) {
    const int64_t to = pixel / small.x.size * image.x.size + pixel % small.x.size;
    std::copy_n(small.spectrum(pixel), small.energy.size, image.spectrum(to));
    std::copy_n(reference_expected.begin() + pixel * small.energy.size, small.energy.size,
                expected.begin() + to * small.energy.size);
    image.excluded[static_cast<size_t>(to)] = 0;
  }
  const ReconstructionQuality a = reconstruction_quality(small, reference_expected, {9, 2.7}, 2);
  omp_set_num_threads(3);
  const ReconstructionQuality b = reconstruction_quality(image, expected, {9, 2.7}, 2);
  omp_set_num_threads(omp_get_num_procs());
  EXPECT_EQ(a.psnr_db, b.psnr_db);
  EXPECT_EQ(a.ssim_map, b.ssim_map);
  EXPECT_EQ(a.ssim_channels, b.ssim_channels);
  EXPECT_EQ(a.reduced_deviance, b.reduced_deviance);
  EXPECT_EQ(a.residual_autocorrelation, b.residual_autocorrelation);

  // One excluded pixel in the middle of 9 x 11 is in every window of 7 x 7.
  SpectrumImage pierced = small;
  pierced.excluded.assign(static_cast<size_t>(small.pixels()), 0);
  pierced.excluded[4 * 11 + 5] = 1;
  const ReconstructionQuality c = reconstruction_quality(pierced, reference_expected, {9, 2.7}, 2);
  EXPECT_FALSE(c.ssim_map || c.ssim_channels);
  EXPECT_TRUE(c.psnr_db && c.psnr_db != a.psnr_db);
}

TEST(ReconstructionQuality, OfAPerfectExpectation) {
  const SpectrumImage image = reference_image();
  const ReconstructionQuality quality =
      reconstruction_quality(image, {image.counts.data(), image.counts.size()}, {1, 0}, 2);
  EXPECT_EQ(quality.psnr_db, std::numeric_limits<double>::infinity());
  EXPECT_NEAR(quality.ssim_map.value(), 1, 1e-12);
  EXPECT_NEAR(quality.ssim_channels.value(), 1, 1e-12);
  EXPECT_EQ(quality.reduced_deviance, 0);
  EXPECT_EQ(quality.residual_autocorrelation, (std::vector<double>{0, 0}));
}

TEST(ReconstructionQuality, IsAbsentWhereThereIsNothingToCompareWith) {
  const SpectrumImage flat = image_of(8, 8, {"", "eV", 0, 1, 3}, [](auto...) { return 2; });
  const std::vector<float> expected(8 * 8 * 3, 1);
  const ReconstructionQuality quality = reconstruction_quality(flat, expected, {1, 1}, 0);
  EXPECT_FALSE(quality.psnr_db || quality.ssim_map || quality.ssim_channels);
  EXPECT_EQ(quality.reduced_deviance, 0.5);  // (2 - 1)^2 / (1 + 1 * 1)

  const SpectrumImage narrow =
      image_of(6, 50, {"", "eV", 0, 1, 3}, [](int64_t y, int64_t x, double e) { return double(y + x) + e; });
  const ReconstructionQuality other =
      reconstruction_quality(narrow, std::vector<float>(6 * 50 * 3, 1), {1, 1}, 0);
  EXPECT_TRUE(other.psnr_db);
  EXPECT_FALSE(other.ssim_map || other.ssim_channels);
}

TEST(ReconstructionQuality, TellsNoiseFromStructure) {
  // Around the true spectrum: noise of variance 4 + 0.5 * 30, white. Where a feature is missed, it is not.
  const int64_t channels = 400;
  SpectrumImage image = image_of(10, 10, {"", "eV", 0, 1, channels}, [](auto...) { return 30; });
  for (size_t i = 0; i < image.counts.size(); ++i) {
    const Philox4 draw = philox(3, i, 1);
    image.counts[i] += static_cast<float>(std::sqrt(19.0) * normal_pair(draw.v[0], draw.v[1]).first);
  }
  std::vector<float> expected(image.counts.size(), 30);
  const ReconstructionQuality noise = reconstruction_quality(image, expected, {4, 0.5}, 2);
  // Standard deviations: sqrt(2 / 40000) and sqrt(1 / 40000).
  EXPECT_NEAR(noise.reduced_deviance, 1, 5 * std::sqrt(2 / 40000.0));
  EXPECT_NEAR(noise.residual_autocorrelation[0], 0, 5 / 200.0);
  EXPECT_NEAR(noise.residual_autocorrelation[1], 0, 5 / 200.0);
  for (size_t i = 0; i < expected.size(); ++i)
    if (i % channels < channels / 2) expected[i] -= 10;
  const ReconstructionQuality missed = reconstruction_quality(image, expected, {4, 0.5}, 2);
  EXPECT_GT(missed.reduced_deviance, 2);
  EXPECT_GT(missed.residual_autocorrelation[0], 0.5);
}

TEST(ReconstructionQuality, TakesNegativeExpectationsForZero) {
  const SpectrumImage image =
      image_of(1, 1, {"", "eV", 0, 1, 2}, [](int64_t, int64_t, double e) { return e; });
  const std::vector<float> expected = {-2, -1};
  EXPECT_EQ(reconstruction_quality(image, expected, {2, 100}, 1).reduced_deviance, 2);  // (4 + 4) / 2 / 2
}

TEST(ReconstructionQuality, RefusesWhatItCannotMean) {
  const SpectrumImage image = reference_image();
  EXPECT_THROW(reconstruction_quality(image, std::vector<float>(5), {1, 1}, 1), std::logic_error);
  EXPECT_THROW(reconstruction_quality(image, reference_expected, {0, 1}, 1), std::logic_error);
  EXPECT_THROW(reconstruction_quality(image, reference_expected, {1, 1}, 18), std::logic_error);
  SpectrumImage nothing = image;
  nothing.excluded.assign(static_cast<size_t>(image.pixels()), 1);
  EXPECT_THROW(reconstruction_quality(nothing, reference_expected, {1, 1}, 1), std::logic_error);
}

}  // namespace
}  // namespace eelsvae
