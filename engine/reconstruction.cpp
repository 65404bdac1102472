#include "engine/reconstruction.h"

#include <algorithm>

#include "engine/tiling.h"

namespace eelsvae {

std::vector<float> reconstruct_image(Model& model, const SpectrumImage& prepared, int64_t stride, Blend blend,
                                     const std::function<bool(int64_t, int64_t)>& after_batch) {
  const int64_t tile = model.shape().image_size, tile_count = model.shape().tile_count(),
                batch = model.batch();
  expect(prepared.energy.size == model.shape().energy, "reconstruct_image: wrong number of channels");
  const TileGrid grid =
      make_tile_grid(prepared.y.size, prepared.x.size, tile, stride == 0 ? tile / 2 : stride);
  BlendedCube cube(prepared.y.size, prepared.x.size, prepared.energy.size, tile, blend);
  std::vector<float> tiles(static_cast<size_t>(batch * tile_count));
  for (int64_t first = 0; first < grid.size(); first += batch) {
    const int64_t count = std::min(batch, grid.size() - first);
    for (int64_t b = 0; b < batch; ++b)  // past the end the last tile repeats
      copy_tile(prepared, grid.origins[static_cast<size_t>(first + std::min(b, count - 1))], tile, 0,
                tiles.data() + b * tile_count);
    model.load_tiles(tiles.data());
    model.reconstruct(tiles.data());
    for (int64_t b = 0; b < count; ++b)
      cube.add(grid.origins[static_cast<size_t>(first + b)], tiles.data() + b * tile_count);
    if (!after_batch(first + count, grid.size())) return {};
  }
  return cube.take();
}

}  // namespace eelsvae
