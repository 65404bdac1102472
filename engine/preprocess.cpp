#include "engine/preprocess.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <span>

#include "engine/excluded.h"
#include "engine/filters.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr int64_t channel_multiple = 16;  // the network halves the energy axis four times

void check_pixels_left(const SpectrumImage& image) {
  if (excluded_pixels(image.excluded) == image.pixels())
    throw UserError("every pixel of the image is excluded, so none is left to work on");
}

// Excluded pixels hold no counts to go by.
ScalingParameters fit_scaling(SpectrumImage& image, const PreprocessConfig& config) {
  const int64_t kept = exchange_excluded(image) * image.energy.size;
  ScalingParameters fitted =
      ScalingParameters::fit(std::span(image.counts).first(static_cast<size_t>(kept)), config);
  exchange_excluded(image);
  return fitted;
}

void check_finite(const SpectrumImage& image) {
  const auto count = static_cast<int64_t>(image.counts.size());
  int64_t first = count, number = 0;
#pragma omp parallel for schedule(static) reduction(min : first) reduction(+ : number)
  for (int64_t i = 0; i < count; ++i) {
    if (std::isfinite(image.counts[static_cast<size_t>(i)])) continue;
    first = std::min(first, i);
    ++number;
  }
  if (number == 0) return;
  int64_t pixel = first / image.energy.size;
  throw UserError(std::to_string(number) + " counts are not finite, the first at y " +
                  std::to_string(pixel / image.x.size) + ", x " + std::to_string(pixel % image.x.size) +
                  ", channel " + std::to_string(first % image.energy.size) +
                  " of the energy range; replace them before use");
}

void crop(SpectrumImage& image, const std::optional<std::array<double, 2>>& energy_range,
          std::vector<std::string>& notes) {
  const Axis axis = image.energy;
  ChannelWindow window{0, axis.size};
  if (energy_range) window = channels_within(axis, *energy_range);
  if (window.size() < channel_multiple)
    throw UserError((energy_range ? "data.energy_range leaves " : "the energy axis has ") +
                    std::to_string(window.size()) + " channels, and at least " +
                    std::to_string(channel_multiple) + " are needed; the image's axis is " + describe(axis));
  const int64_t surplus = window.size() % channel_multiple;
  if (surplus > 0) {
    window.first += surplus / 2;
    window.last -= surplus - surplus / 2;
  }
  crop_energy(image, window);
  if (surplus > 0)
    notes.push_back("energy range narrowed by " + std::to_string(surplus) + " channels to " +
                    describe(image.energy) + ", a multiple of " + std::to_string(channel_multiple));
}

}  // namespace

PreparedImage prepare(SpectrumImage image, const PreprocessConfig& config,
                      const std::optional<std::array<double, 2>>& energy_range,
                      const ScalingParameters* fitted) {
  expect(
      static_cast<int64_t>(image.counts.size()) == image.pixels() * image.energy.size && image.pixels() > 0,
      "a spectrum image's counts do not match its axes");
  expect(image.excluded.empty() || static_cast<int64_t>(image.excluded.size()) == image.pixels(),
         "a spectrum image's mask of excluded pixels does not match its axes");
  PreparedImage prepared;
  clear_excluded(image.excluded, image.counts);
  crop(image, energy_range, prepared.notes);
  check_pixels_left(image);
  check_finite(image);
  gaussian_filter(image, config.sigma);
  prepared.scaling = fitted ? *fitted : fit_scaling(image, config);
  prepared.scaling.apply(image.counts);
  spatial_mean(image, config.xy_window);
  clear_excluded(image.excluded, image.counts);
  prepared.image = std::move(image);
  return prepared;
}

void check_non_negative(const SpectrumImage& prepared, ReconstructionLoss loss) {
  if (loss != ReconstructionLoss::cross_entropy) return;
  float lowest = 0;
  const auto count = static_cast<int64_t>(prepared.counts.size());
#pragma omp parallel for simd schedule(static) reduction(min : lowest)
  for (int64_t i = 0; i < count; ++i) lowest = std::min(lowest, prepared.counts[static_cast<size_t>(i)]);
  if (lowest >= 0) return;
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", static_cast<double>(lowest));
  throw UserError(std::string("preprocessed counts go down to ") + text +
                  ", and loss.reconstruction cross_entropy needs them >= 0; set preprocess.scaling_method to "
                  "robust_minmax, or loss.reconstruction to mse");
}

}  // namespace eelsvae
