#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/config.h"
#include "engine/detect/baselines.h"
#include "engine/image/spectrum_image.h"
#include "engine/network/model.h"
#include "engine/network/reconstruction.h"
#include "engine/stop_token.h"

namespace eelsvae {

// What is expected of every spectrum of an image, and what else its origin has to say.
struct Expectation {
  CountArray spectra;             // (y, x, E), in the prepared image's units
  std::vector<float> own_scores;  // of a baseline that has its own (y, x); else empty
  std::optional<TileGrid> grid;   // of a model: where its tiles lay, and
  std::vector<float> latent;      // their latent vectors (tiles, latent)
  bool foretells_totals = false;  // else a spectrum's total is taken as it is
  bool is_projection = false;     // of the very spectrum, like PCA's: its amounts are the spectrum's own
};

// From a model built for inference; further arguments and errors as reconstruct_image has them.
Expectation expect_from(Model& model, const SpectrumImageView& prepared, const DetectionConfig& config,
                        const TilesDone& tiles_done = {}, const StopToken& stop = {});
Expectation expect_from(const Baseline& baseline, const SpectrumImageView& prepared);

}  // namespace eelsvae
