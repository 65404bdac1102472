#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/config.h"
#include "engine/energy_axis.h"
#include "engine/model.h"
#include "engine/spectrum_image.h"

namespace eelsvae {

// What a detection found in a prepared image; maps are (y, x).
struct Detection {
  std::vector<float> reconstruction;  // (y, x, E), in the prepared image's units; 0 in excluded pixels
  std::vector<float> scores;          // larger fits worse; NaN in excluded pixels, finite in all others
  double threshold = 0;
  std::vector<uint8_t> mask;  // 1 where the score is above the threshold
  ChannelWindow window;       // over which the score was taken

  int64_t anomalous_pixels() const;
};

// UserError where detect() could not begin: the score is not known, its window is not on the energy axis, the
// image is smaller than a tile. For programs that ask before they write anything.
void check_detection(const SpectrumImage& prepared, const TilesConfig& tiles, const DetectionConfig& config);

// Reconstructs every spectrum with a model built for inference and scores it. after_batch as in
// reconstruct_image; where it gives up the result is empty. UserError if the window is not on the energy axis
// or the image is smaller than a tile.
Detection detect(Model& model, const SpectrumImage& prepared, const DetectionConfig& config,
                 const std::function<bool(int64_t, int64_t)>& after_batch);

}  // namespace eelsvae
