#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/image/spectrum_image.h"
#include "engine/prepare/filters.h"
#include "engine/prepare/scaling.h"
#include "kernels/backend.h"

namespace eelsvae {

// The parts of smooth_and_scale(), one by one, by the processor.

inline std::unique_ptr<DeviceImage> take(const ImageShape& shape, float* counts, const uint8_t* excluded) {
  static const std::unique_ptr<Backend> processor = make_backend("cpu", "fp32");
  return processor->take_image(shape, counts, excluded);
}
inline std::unique_ptr<DeviceImage> take(std::span<float> counts) {
  return take({1, 1, std::ssize(counts)}, counts.data(), nullptr);
}
inline std::unique_ptr<DeviceImage> take(SpectrumImage& image) {
  return take({image.y.size, image.x.size, image.energy.size}, image.counts.data(),
              image.excluded.empty() ? nullptr : image.excluded.data());
}

inline void gaussian_filter(SpectrumImage& image, double sigma) {
  const std::vector<float> half = gaussian_weights(sigma);
  take(image)->filter(half, half, std::nullopt);
}
inline void spatial_mean(SpectrumImage& image, int64_t window,
                         const std::optional<LinearMap>& map = std::nullopt) {
  take(image)->filter(mean_weights(window), {}, map);
}
inline std::vector<double> percentiles_of(std::span<const float> counts, std::span<const double> percents) {
  std::vector<float> copy(counts.begin(), counts.end());
  return percentiles(*take(copy), percents);
}
inline ScalingParameters fit_scaling(std::span<const float> counts, const PreprocessConfig& config) {
  std::vector<float> copy(counts.begin(), counts.end());
  return ScalingParameters::fit(*take(copy), config);
}
inline void apply_scaling(const ScalingParameters& scaling, std::span<float> counts) {
  if (const std::optional<LinearMap> map = scaling.linear())
    take(counts)->filter(std::vector<float>{1}, {}, map);
  else
    take(counts)->map_to_shares(scaling.quantiles);
}

}  // namespace eelsvae
