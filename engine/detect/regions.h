#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/detect/change.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

// Anomalous pixels that touch each other, by edge or by corner.
struct Region {
  std::vector<int64_t> pixels;  // ascending indices y * width + x
  double y = 0, x = 0;          // centroid, in the units of the axes (nm where calibrated)
  double area = 0;              // pixels * |pixel size y * pixel size x|, in units^2
  int64_t strongest = 0;        // the pixel with the highest score
  float highest_score = 0;
  std::vector<float> deviation;  // (E) mean of observed - expected over the region
  Explanation explanation = {};  // of that; not by find_regions()
};

// The regions of a mask (y, x), highest score first. observed and expected are cubes (y, x, E) on the image's
// axes.
std::vector<Region> find_regions(const SpectrumImageView& observed, std::span<const float> expected,
                                 std::span<const float> scores, std::span<const uint8_t> mask);

// The same without deviations, where the spectra are gone.
std::vector<Region> find_regions(const Axis& y, const Axis& x, std::span<const float> scores,
                                 std::span<const uint8_t> mask);

}  // namespace eelsvae
