#include "engine/reconstruction.h"

#include <algorithm>
#include <iterator>

#include "engine/tiling.h"

namespace eelsvae {

Reconstruction reconstruct_image(Model& model, const SpectrumImage& prepared, int64_t stride, Blend blend,
                                 const std::function<bool(int64_t, int64_t)>& after_batch) {
  const int64_t tile = model.shape().image_size, tile_count = model.shape().tile_count(),
                batch = model.batch();
  expect(prepared.energy.size == model.shape().energy, "reconstruct_image: wrong number of channels");
  Reconstruction result;
  result.grid = make_tile_grid(prepared.y.size, prepared.x.size, tile, stride == 0 ? tile / 2 : stride);
  const TileGrid& grid = result.grid;
  const int64_t latent = model.shape().latent;
  BlendedCube cube(prepared.y.size, prepared.x.size, prepared.energy.size, tile, blend);
  auto start = [&](int64_t first) {
    float* tiles = model.next_tiles();
    for (int64_t b = 0; b < batch; ++b)  // past the end the last tile repeats
      copy_tile(prepared, grid.origins[static_cast<size_t>(std::min(first + b, grid.size() - 1))], tile, 0,
                tiles + b * tile_count);
    model.load_tiles();
    model.start_reconstruction();
  };
  start(0);
  for (int64_t first = 0; first < grid.size(); first += batch) {
    // While the device computes the next batch, this one is blended in.
    if (first + batch < grid.size()) start(first + batch);
    const ReconstructedTiles batch_result = model.finish_reconstruction();
    const int64_t done = std::min(first + batch, grid.size());
    for (int64_t i = first; i < done; ++i) {
      cube.add(grid.origins[static_cast<size_t>(i)], batch_result.tiles + (i - first) * tile_count);
      const double* mean = batch_result.posterior.data() + (i - first) * 2 * latent;
      std::transform(mean, mean + latent, std::back_inserter(result.latent),
                     [](double v) { return static_cast<float>(v); });
    }
    if (!after_batch(done, grid.size())) {
      if (first + batch < grid.size()) model.finish_reconstruction();
      return {};
    }
  }
  result.spectra = cube.take();
  return result;
}

}  // namespace eelsvae
