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
    const float* tiles = model.finish_reconstruction();
    const int64_t done = std::min(first + batch, grid.size());
    for (int64_t i = first; i < done; ++i)
      cube.add(grid.origins[static_cast<size_t>(i)], tiles + (i - first) * tile_count);
    if (!after_batch(done, grid.size())) {
      if (first + batch < grid.size()) model.finish_reconstruction();
      return {};
    }
  }
  return cube.take();
}

}  // namespace eelsvae
