#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/config.h"
#include "engine/model.h"
#include "engine/spectrum_image.h"
#include "engine/tiling.h"

namespace eelsvae {

// What a model makes of an image, from the mean of the posterior.
struct Reconstruction {
  CountArray spectra;  // (y, x, E), in the image's own units
  TileGrid grid;
  std::vector<float> latent;  // (tiles, latent): the posterior's mean
};

// Reconstructs every spectrum of a prepared image. Tiles are `stride` pixels apart (0: half a tile) and
// anchored at the far edges, so that every pixel is covered; where tiles overlap their reconstructions are
// blended. after_batch(done, total) is called with the number of tiles; returning false gives up (no
// spectra). UserError if the image is smaller than a tile.
Reconstruction reconstruct_image(Model& model, const SpectrumImage& prepared, int64_t stride, Blend blend,
                                 const std::function<bool(int64_t, int64_t)>& after_batch);

}  // namespace eelsvae
