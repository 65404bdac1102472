#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/config.h"
#include "engine/live/row_band.h"
#include "engine/prepare/scaling.h"

namespace eelsvae {

// Prepared rows, and the noise that filters leave in their pixels (filtered_noise.h).
struct PreparedRows {
  std::span<const float> spectra;  // (y, x, E), 0 in excluded pixels; the filter's, until it is asked again
  std::vector<float> noise;        // (y, x)
};

// Filters and scales the rows of a scan as they come, as smooth_and_scale() does the whole image: bit for
// bit, once no row that is still to come can change them.
class RowFilter {
 public:
  RowFilter(int64_t height, int64_t width, int64_t channels, const PreprocessConfig& config,
            const ScalingParameters& scaling);

  // So many rows after a row change what becomes of it.
  int64_t reach() const { return reach_of_gaussian() + reach_of_mean(); }
  // Rows that came, and those of them that settle() returned.
  int64_t there() const { return recorded_.last(); }
  int64_t settled() const { return settled_; }

  // The next row, counts (x, E), 0 in excluded pixels.
  void add(std::span<const float> row) { recorded_.append(row); }
  // excluded: (y, x) of the scan, not 0 where a pixel is. The rows that follow settled() and that no row to
  // come can change.
  PreparedRows settle(std::span<const uint8_t> excluded);
  // The rows from settled() to there(), as if none came after them.
  PreparedRows tail(std::span<const uint8_t> excluded);

 private:
  int64_t reach_of_gaussian() const { return std::ssize(gaussian_) - 1; }
  int64_t reach_of_mean() const { return std::ssize(mean_) - 1; }
  // How many rows stay as they are when those there stay that they reach.
  int64_t unchanging(int64_t rows, int64_t reach) const;
  std::vector<uint8_t> mask_of(int64_t first, int64_t last, std::span<const uint8_t> excluded) const;
  std::span<float> with_surroundings(const RowBand& band, int64_t from, int64_t to);
  std::span<float> smoothed(int64_t first, int64_t last, std::span<const uint8_t> excluded);
  std::span<const float> averaged(int64_t first, int64_t last, std::span<const uint8_t> excluded);
  std::vector<float> noise_of(int64_t first, int64_t last, std::span<const uint8_t> excluded) const;

  int64_t height_, width_, channels_;
  double sigma_;
  int64_t window_;
  std::vector<float> gaussian_, mean_;
  std::optional<LinearMap> linear_;
  std::vector<double> quantiles_;
  RowBand recorded_, smoothed_;  // the second: by the Gaussian, and mapped to shares where the scaling does
  int64_t settled_ = 0;
  CountArray scratch_;
};

}  // namespace eelsvae
