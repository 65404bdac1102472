#include "engine/image/spectrum_image.h"

#include <gtest/gtest.h>

#include <numeric>

#include "engine/detect/job.h"
#include "tests/engine/spectra.h"

namespace eelsvae {
namespace {

constexpr int64_t height = 48, width = 40, channels = 64;

// Spectra of two shapes and shot noise, some pixels excluded.
SpectrumImage noisy_image() {
  SpectrumImage image =
      image_of(height, width, {"energy loss", "eV", 700, 0.5, channels}, [](int64_t y, int64_t x, double ev) {
        return 60 + 40 * gaussian(ev, 715, 3) + static_cast<double>((y + 2 * x) % 7) * gaussian(ev, 722, 2);
      });
  add_noise(image, 4);
  image.excluded.resize(static_cast<size_t>(height * width));
  for (size_t pixel = 0; pixel < image.excluded.size(); pixel += 17) image.excluded[pixel] = 1;
  return image;
}

DetectionResult detection_in(const SpectrumImageView& image) {
  PreprocessConfig unfiltered;
  unfiltered.sigma = 0;
  unfiltered.xy_window = 1;
  DetectionConfig config;
  config.score = Score::combined;
  return run_detection(
      image,
      [](const SpectrumImageView& of) { return expect_from(Baseline(of, {}, parse_baseline("mean")), of); },
      {SourceDescription::Kind::mean, 0, {}, false}, unfiltered, config);
}

TEST(SpectrumImageView, RowsAreThoseOfTheImageWithoutACopy) {
  const SpectrumImage image = noisy_image();
  const SpectrumImageView rows = SpectrumImageView(image).rows(5, 30);
  EXPECT_EQ(rows.pixels(), 25 * width);
  EXPECT_EQ(rows.spectrum(0), image.spectrum(5 * width));
  EXPECT_EQ(rows.y.value(0), image.y.value(5));
  EXPECT_EQ(rows.x, image.x);
  EXPECT_EQ(rows.energy, image.energy);
  EXPECT_EQ(rows.excluded.data(), image.excluded.data() + 5 * width);
  EXPECT_EQ(std::ssize(rows.excluded), rows.pixels());
  const SpectrumImage copy = rows.copy();
  EXPECT_EQ(copy.y, rows.y);
  EXPECT_TRUE(std::equal(copy.counts.begin(), copy.counts.end(), rows.counts.begin(), rows.counts.end()));
  EXPECT_TRUE(
      std::equal(copy.excluded.begin(), copy.excluded.end(), rows.excluded.begin(), rows.excluded.end()));
  EXPECT_THROW(rows.rows(0, 26), std::logic_error);
}

TEST(SpectrumImageView, RefusesWhatDoesNotMatchItsAxes) {
  const SpectrumImage image = noisy_image();
  const auto view = [&](std::span<const float> counts, std::span<const uint8_t> excluded) {
    return SpectrumImageView(image.y, image.x, image.energy, counts, excluded);
  };
  EXPECT_EQ(view(image.counts, {}).excluded.size(), 0u);
  EXPECT_THROW(view(std::span(image.counts).subspan(1), {}), std::logic_error);
  EXPECT_THROW(view(image.counts, std::span(image.excluded).subspan(1)), std::logic_error);
}

// An array of another program, and rows of a scan, are scored where they lie as images of their own are.
TEST(SpectrumImageView, IsScoredAsAnImageOfItsOwn) {
  const SpectrumImage image = noisy_image();
  const std::vector<float> array(image.counts.begin(), image.counts.end());
  const std::vector<uint8_t> mask = image.excluded;
  const SpectrumImageView scan(image.y, image.x, image.energy, array, mask);
  for (const SpectrumImageView& view : {scan, scan.rows(0, 20), scan.rows(13, 48)}) {
    const DetectionResult there = detection_in(view), own = detection_in(view.copy());
    ASSERT_EQ(std::ssize(there.found.scores), view.pixels());
    for (size_t pixel = 0; pixel < there.found.scores.size(); ++pixel)
      if (view.excluded[pixel])
        EXPECT_TRUE(std::isnan(there.found.scores[pixel]));
      else
        ASSERT_EQ(there.found.scores[pixel], own.found.scores[pixel]) << pixel;
    EXPECT_EQ(there.found.mask, own.found.mask);
    EXPECT_EQ(there.found.threshold, own.found.threshold);
  }
}

}  // namespace
}  // namespace eelsvae
