#include "engine/detect/comparison.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/detect/baselines.h"
#include "engine/short_number.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

double deviance_of(const PredictionSample& sample, const Baseline& baseline) {
  return predictive_deviance(sample,
                             [&](const SpectrumImageView& image) { return expect_from(baseline, image); });
}

}  // namespace

double predictive_deviance(const PredictionSample& sample,
                           const std::function<Expectation(const SpectrumImageView&)>& source) {
  auto predict = [&](bool with_fresh_noise) {
    CountArray predicted;
    for (int64_t i = 0; i < sample.rectangles(); ++i) {
      const Expectation expected = source(sample.rectangle(i, with_fresh_noise));
      predicted.insert(predicted.end(), expected.spectra.begin(), expected.spectra.end());
    }
    return predicted;
  };
  const CountArray expected = predict(false);
  return predictive_deviance(sample, expected, predict(true));
}

std::optional<Comparison> compare_baselines(const PredictionSample& sample, const SpectrumImageView& image,
                                            std::span<const uint8_t> left_out) {
  Comparison comparison;
  comparison.spectra = sample.spectra();
  try {
    comparison.mean = deviance_of(sample, Baseline(image, left_out, parse_baseline("mean")));
  } catch (const UserError&) {
    return std::nullopt;
  }
  try {
    const Baseline pca(image, left_out, parse_baseline("pca:auto"));
    comparison.pca = deviance_of(sample, pca);
    comparison.components = pca.components();
  } catch (const UserError&) {
    // too few pixels to choose a number of components
  }
  return comparison;
}

std::optional<SpreadSample> spread_sample(const SpectrumImageView& image, int64_t tile,
                                          const PreprocessConfig& preprocess) {
  constexpr double share = 0.1;
  auto extent = [&](int64_t size) {
    return std::clamp(size / 2, std::max<int64_t>(tile, 1), std::max<int64_t>(2 * tile, 48));
  };
  const int64_t height = extent(image.y.size), width = extent(image.x.size);
  std::vector<TileOrigin> places;
  for (int64_t y = 0; y + height <= image.y.size; y += height)
    for (int64_t x = 0; x + width <= image.x.size; x += width) places.push_back({y, x});
  const auto all = std::ssize(places);
  if (all == 0) return std::nullopt;
  const auto wanted = std::clamp<int64_t>(std::llround(share * static_cast<double>(all)), 1, all);
  std::vector<TileOrigin> chosen;
  std::vector<uint8_t> pixels(static_cast<size_t>(image.pixels()));
  for (int64_t i = 0; i < wanted; ++i) {
    const TileOrigin place = places[static_cast<size_t>((2 * i + 1) * all / (2 * wanted))];
    chosen.push_back(place);
    for (int64_t y = place.y; y < place.y + height; ++y)
      std::fill_n(pixels.begin() + y * image.x.size + place.x, width, uint8_t{1});
  }
  if (2 * std::ranges::count(pixels, 1) > image.pixels()) return std::nullopt;
  auto sample = make_prediction_sample(image, std::move(chosen), height, width, pixels, preprocess, 0);
  if (!sample) return std::nullopt;
  return SpreadSample{std::move(*sample), std::move(pixels)};
}

std::string describe(const Comparison& comparison) {
  auto number = [](double deviance) { return short_number(deviance, 4); };
  std::string text =
      "Predictive deviance of " + std::to_string(comparison.spectra) + " spectra (1: only noise is left): ";
  if (comparison.model) text += "model " + number(*comparison.model) + ", ";
  text += "mean spectrum " + number(comparison.mean);
  if (comparison.pca)
    text += ", PCA of " + std::to_string(comparison.components) +
            (comparison.components == 1 ? " component " : " components ") + number(*comparison.pca);
  return text;
}

}  // namespace eelsvae
