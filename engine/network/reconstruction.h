#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/config.h"
#include "engine/image/spectrum_image.h"
#include "engine/image/tiling.h"
#include "engine/network/model.h"
#include "engine/stop_token.h"

namespace eelsvae {

// Told how much is done, counted in tiles.
using TilesDone = std::function<void(int64_t done, int64_t total)>;

// What a model makes of an image, from the mean of the posterior.
struct Reconstruction {
  CountArray spectra;  // (y, x, E), in the image's own units
  TileGrid grid;
  std::vector<float> latent;  // (tiles, latent): the posterior's mean; empty of a network of cells
};

// Reconstructs every spectrum of a prepared image; a network of cells, in as many `passes`, each from an
// image that does not show it, or the mean of several. Tiles are `stride` pixels apart (0: half a tile) and
// anchored at the far edges, so that every pixel is covered; where tiles overlap their reconstructions are
// blended, added up in the order of the grid. What overlapping tiles have in common is encoded once where the
// backend can, in blocks that take at most `shared_memory` bytes and half of what the backend has left
// meanwhile, and two activations for every tile and latent unit; no bit of the result depends on the blocks.
// tiles_done(done, total) is called after every batch. UserError if the image is smaller than a tile;
// Interrupted where `stop` asks for it.
Reconstruction reconstruct_image(Model& model, const SpectrumImageView& prepared, int64_t stride, Blend blend,
                                 int64_t passes = 4, const TilesDone& tiles_done = {},
                                 const StopToken& stop = {}, size_t shared_memory = size_t{1} << 30);

// Reconstructs an image whose rows come one after the other, with the bits of reconstruct_image() in every
// pixel that is not excluded. Rows of tiles without such a pixel cost nothing, and are zeros. Refers to the
// model, whose batch is to be that of the whole image (tiles_at_a_time()).
class RowReconstruction {
 public:
  // Of an image of so many prepared pixels and channels; stride, blend: as above. UserError if it is smaller
  // than a tile, and for a network of cells.
  RowReconstruction(Model& model, int64_t height, int64_t width, const Axis& energy, int64_t stride,
                    Blend blend);
  ~RowReconstruction();

  // So many rows after a row have to be there before it can be reconstructed.
  int64_t reach() const;
  // Takes the next rows, with a mask. Returns the spectra of the rows that no further one changes and that
  // were not returned before.
  CountArray add(const SpectrumImageView& rows);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// What a model that is being trained makes of at most a batch of tiles, (count, target...), from the mean of
// the posterior; of a network of cells in four passes.
std::vector<float> reconstruct_tiles(Model& model, std::span<const float> tiles);

// Tiles that a detection in an image of so many prepared pixels takes at a time: detection.batch_size, but no
// more than there are. UserError as reconstruct_image.
int64_t tiles_at_a_time(const TilesConfig& tiles, const DetectionConfig& detection, int64_t height,
                        int64_t width);

}  // namespace eelsvae
