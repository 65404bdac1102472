#include "engine/network/reconstruction.h"

#include <algorithm>
#include <memory>
#include <numeric>

#include "engine/image/tiling.h"
#include "engine/network/shared_encoder.h"

namespace eelsvae {
namespace {

// Twice as much would save a published network at half-tile strides another 3 % of its encoder's work.
constexpr size_t shared_memory = size_t{1} << 30;

TileGrid grid_of(const SpectrumImage& image, int64_t tile, int64_t stride) {
  return make_tile_grid(image.y.size, image.x.size, tile, stride == 0 ? tile / 2 : stride);
}

}  // namespace

Reconstruction reconstruct_image(Model& model, const SpectrumImage& prepared, int64_t stride, Blend blend,
                                 const TilesDone& tiles_done, const StopToken& stop) {
  const int64_t tile = model.shape().image_size, tile_count = model.shape().tile_count(),
                batch = model.batch();
  expect(prepared.energy.size == model.shape().energy, "reconstruct_image: wrong number of channels");
  Reconstruction result;
  result.grid = grid_of(prepared, tile, stride);
  const TileGrid& grid = result.grid;
  const int64_t latent = model.shape().latent;
  // Which tile comes when: with the encoder's work shared, block by block.
  const std::unique_ptr<SharedEncoder> shared =
      SharedEncoder::make(model, grid, std::min(shared_memory, model.backend().memory().available / 2));
  std::vector<int64_t> order(static_cast<size_t>(grid.size()));
  std::iota(order.begin(), order.end(), 0);
  if (shared) order = shared->order();
  result.latent.resize(static_cast<size_t>(grid.size() * latent));
  BlendedCube cube(prepared.y.size, prepared.x.size, prepared.energy.size, tile, blend);
  auto start = [&](int64_t first) {
    // Past the end the last tile repeats.
    const auto number = [&](int64_t b) {
      return order[static_cast<size_t>(std::min(first + b, grid.size() - 1))];
    };
    float* tiles = model.next_tiles();
    for (int64_t b = 0; b < batch; ++b)
      copy_tile(prepared, grid.origins[static_cast<size_t>(number(b))], tile, 0, tiles + b * tile_count);
    model.load_tiles();
    if (shared) {
      const Array features = model.features();
      const size_t bytes = features.bytes() / static_cast<size_t>(batch);
      for (int64_t b = 0; b < batch; ++b)
        shared->copy_features(prepared, number(b),
                              static_cast<char*>(features.data) + static_cast<size_t>(b) * bytes);
    }
    model.start_reconstruction(shared ? Model::Start::features : Model::Start::tiles);
  };
  start(0);
  for (int64_t first = 0; first < grid.size(); first += batch) {
    // While the device computes the next batch, this one is blended in.
    if (first + batch < grid.size()) start(first + batch);
    const ReconstructedTiles batch_result = model.finish_reconstruction();
    const int64_t done = std::min(first + batch, grid.size());
    for (int64_t i = first; i < done; ++i) {
      const int64_t number = order[static_cast<size_t>(i)];
      cube.add(grid.origins[static_cast<size_t>(number)], batch_result.tiles + (i - first) * tile_count);
      const double* mean = batch_result.posterior.data() + (i - first) * 2 * latent;
      std::transform(mean, mean + latent, result.latent.begin() + number * latent,
                     [](double v) { return static_cast<float>(v); });
    }
    if (tiles_done) tiles_done(done, grid.size());
    if (done < grid.size() && stop.requested()) {
      model.finish_reconstruction();  // of the batch that was started
      throw Interrupted();
    }
  }
  result.spectra = cube.take();
  return result;
}

int64_t tiles_at_a_time(const TilesConfig& tiles, const DetectionConfig& detection,
                        const SpectrumImage& image) {
  return std::min(detection.batch_size, grid_of(image, tiles.image_size, detection.stride).size());
}

}  // namespace eelsvae
