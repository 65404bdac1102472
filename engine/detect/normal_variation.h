#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/detect/residual_model.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

// How far normal spectra vary, here and there, along the components of a residual model: what each pixel's
// surroundings foretell of its amounts U z, and how much the rest spreads around it. context > 1: side of the
// surroundings (surroundings.h); 0 or 1: nothing is foretold, and the spread is the model's everywhere.
// Refers to its arguments, which must outlive it.
class NormalVariation {
 public:
  NormalVariation(const SpectrumImageView& observed, std::span<const float> expected,
                  const ResidualModel& model, int64_t context);

  // Those that are not excluded, ascending.
  const std::vector<int64_t>& pixels() const { return pixels_; }
  const ResidualModel& model() const { return model_; }
  // z (E) of a pixel, less what its surroundings foretell.
  void residual(int64_t pixel, float* z) const;
  // What is left of its amount along component k, and L / (1 + L), L being the variance of such amounts there
  // beyond the noise's.
  float amount(int64_t k, int64_t pixel) const {
    return amounts_[static_cast<size_t>(k)][static_cast<size_t>(pixel)];
  }
  float weight(int64_t k, int64_t pixel) const {
    return weights_[static_cast<size_t>(k)][static_cast<size_t>(pixel)];
  }

 private:
  void measure_amounts();

  const SpectrumImageView& observed_;
  std::span<const float> expected_;
  const ResidualModel& model_;
  std::vector<int64_t> pixels_;
  std::vector<std::vector<float>> amounts_, weights_,
      foretold_;  // (k)(pixels); empty where nothing is foretold
};

}  // namespace eelsvae
