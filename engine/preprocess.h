#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/energy_axis.h"
#include "engine/scaling.h"
#include "engine/spectrum_image.h"

namespace eelsvae {

struct PreparedImage {
  SpectrumImage image;             // scaled, on the cropped energy axis
  ScalingParameters scaling;       // that was applied
  std::vector<std::string> notes;  // what the log should say
};

// The published preprocessing, in its order: crop to the energy range (eV, closed; the whole axis if absent)
// and narrow symmetrically to a multiple of 16 channels; Gaussian filter; scaling; spatial mean.
// `fitted`, if not null, is a trained model's scaling, applied in place of one fitted here; its image should
// first be brought to the model's energy axis with crop_to_axis().
// Excluded pixels may hold anything, NaN as well. They come out as zero spectra and nothing depends on them:
// neither the scaling nor, through the filters, their neighbours.
// Works in the image's own memory: move it in.
// UserError: the range misses the axis or leaves fewer than 16 channels, every pixel is excluded; of the
// others, counts that are not finite or all equal.
PreparedImage prepare(SpectrumImage image, const PreprocessConfig& config,
                      const std::optional<std::array<double, 2>>& energy_range,
                      const ScalingParameters* fitted = nullptr);

// Cross-entropy takes spectra as distributions over energy. UserError, with a way out, if the loss is
// cross_entropy and the prepared image has negative values.
void check_non_negative(const SpectrumImage& prepared, ReconstructionLoss loss);

}  // namespace eelsvae
