#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/detect/residual_model.h"
#include "engine/detect/surroundings.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

// The amounts U z of the components of a residual model in every pixel of an image: what the surroundings
// foretell of them, what is left, and how much that spreads. context > 1: side of the surroundings
// (surroundings.h); 0 or 1: nothing is foretold, and the spread is the model's everywhere. Rows may become
// known one after the other, from the first on.
class AmountMaps {
 public:
  // Refers to the model, which must outlive it.
  AmountMaps(int64_t height, int64_t width, const ResidualModel& model, int64_t context);

  // So many rows after a row still change what is foretold there.
  int64_t reach() const { return surroundings_.empty() ? 0 : surroundings_.front().reach(); }
  // Measures the rows of an image that begin with row `first`: spectra and what is expected of them (y, x,
  // E). model: as the constructor's, but with the noise of these pixels.
  void measure(int64_t first, const SpectrumImageView& observed, std::span<const float> expected,
               const ResidualModel& model);
  // Makes rows [first, last) of what follows; arguments as Surroundings::foretell_rows() has them.
  void foretell_rows(std::span<const uint8_t> excluded, int64_t first, int64_t last, int64_t there,
                     int64_t settled);

  // Rows before row y are no longer kept. Those that are still asked for are `y` + reach() and after it.
  void forget_before(int64_t y);

  // Of a pixel: what is foretold of its amount along component k (0 without a context), what is left of it,
  // and L / (1 + L), L being the variance of such amounts there beyond the noise's.
  float foretold(size_t k, size_t pixel) const {
    return surroundings_.empty() ? 0 : surroundings_[k].foretold().value[kept(pixel)];
  }
  float left(size_t k, size_t pixel) const { return amounts_[k][kept(pixel)] - foretold(k, pixel); }
  float weight(size_t k, size_t pixel) const;
  bool foretells() const { return !surroundings_.empty(); }

 private:
  size_t kept(size_t pixel) const { return pixel - static_cast<size_t>(first_ * width_); }

  int64_t height_, width_;
  const ResidualModel& model_;
  int64_t first_ = 0;                        // the first row that is kept
  std::vector<std::vector<float>> amounts_;  // (k)(pixels of the rows that are kept)
  std::vector<Surroundings> surroundings_;   // (k); empty without a context
};

// How far normal spectra vary, here and there, along the components of a residual model. Refers to its
// arguments, which must outlive it.
class NormalVariation {
 public:
  NormalVariation(const SpectrumImageView& observed, std::span<const float> expected,
                  const ResidualModel& model, int64_t context);
  // Of rows of a larger image, the first of which is its row `first`, and the maps of that.
  NormalVariation(const SpectrumImageView& observed, std::span<const float> expected,
                  const ResidualModel& model, const AmountMaps& maps, int64_t first);

  // Those that are not excluded, ascending.
  const std::vector<int64_t>& pixels() const { return pixels_; }
  const ResidualModel& model() const { return model_; }
  // z (E) of a pixel, less what its surroundings foretell.
  void residual(int64_t pixel, float* z) const;
  // As AmountMaps::left() and weight().
  float amount(int64_t k, int64_t pixel) const {
    return amounts_[static_cast<size_t>(k)][static_cast<size_t>(pixel)];
  }
  float weight(int64_t k, int64_t pixel) const {
    return weights_[static_cast<size_t>(k)][static_cast<size_t>(pixel)];
  }

 private:
  void take(const AmountMaps& maps, int64_t first);

  const SpectrumImageView& observed_;
  std::span<const float> expected_;
  const ResidualModel& model_;
  std::vector<int64_t> pixels_;
  std::vector<std::vector<float>> amounts_, weights_,
      foretold_;  // (k)(pixels); the last empty where nothing is foretold
};

}  // namespace eelsvae
