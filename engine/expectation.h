#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "engine/baselines.h"
#include "engine/config.h"
#include "engine/model.h"
#include "engine/reconstruction.h"
#include "engine/spectrum_image.h"

namespace eelsvae {

// What is expected of every spectrum of an image, and what else its origin has to say.
struct Expectation {
  CountArray spectra;             // (y, x, E), in the prepared image's units
  std::vector<float> own_scores;  // of a baseline that has its own (y, x); else empty
  std::optional<TileGrid> grid;   // of a model: where its tiles lay, and
  std::vector<float> latent;      // their latent vectors (tiles, latent)
};

// From a model built for inference; after_batch as in reconstruct_image, where it gives up there are no
// spectra. UserError if the image is smaller than a tile.
Expectation expect_from(Model& model, const SpectrumImage& prepared, const DetectionConfig& config,
                        const std::function<bool(int64_t, int64_t)>& after_batch);
Expectation expect_from(const Baseline& baseline, const SpectrumImage& prepared);

}  // namespace eelsvae
