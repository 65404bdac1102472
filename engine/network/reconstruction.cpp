#include "engine/network/reconstruction.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "engine/image/excluded.h"
#include "engine/image/tiling.h"
#include "engine/network/blind_blocks.h"
#include "engine/network/shared_encoder.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

TileGrid grid_of(int64_t height, int64_t width, int64_t tile, int64_t stride) {
  return make_tile_grid(height, width, tile, stride == 0 ? tile / 2 : stride);
}

// What belongs to tile b of a batch.
Array of_tile(Array all, int64_t batch, int64_t b) {
  return slice(all, b * (all.count / batch), all.count / batch);
}

// The posteriors of all tiles, (tiles, 2 latent) activations. Tiles are encoded block by block.
std::vector<std::byte> encode(Model& model, SharedEncoder& shared, const SpectrumImageView& prepared,
                              const std::function<void(int64_t)>& encoded) {
  const std::vector<int64_t>& order = shared.order();
  const int64_t tiles = std::ssize(order), batch = model.batch();
  const size_t bytes = of_tile(model.posterior(), batch, 0).bytes();
  std::vector<std::byte> posteriors(static_cast<size_t>(tiles) * bytes);
  for (int64_t first = 0; first < tiles; first += batch) {
    const int64_t count = std::min(batch, tiles - first);
    const auto number = [&](int64_t b) { return order[static_cast<size_t>(first + b)]; };
    for (int64_t b = 0; b < count; ++b)
      shared.copy_features(prepared, number(b), of_tile(model.features(), batch, b));
    model.encode_features();
    for (int64_t b = 0; b < count; ++b)
      model.backend().download(of_tile(model.posterior(), batch, b).data,
                               posteriors.data() + static_cast<size_t>(number(b)) * bytes, bytes);
    encoded(first + count);
  }
  return posteriors;
}

// Takes what a network makes of tile number i of a grid: its spectra, and the mean of its posterior (latent);
// null of a network of cells.
using TakeTile = std::function<void(int64_t i, const float* spectra, const double* posterior)>;

// Reconstructs the tiles of a grid over an image, in its order, of what is shown of the image, with the
// totals of `prepared`. shared: null: each tile is encoded by itself.
void reconstruct_grid(Model& model, const TileGrid& grid, SharedEncoder* shared,
                      const SpectrumImageView& shown, const SpectrumImageView& prepared, const TakeTile& take,
                      const TilesDone& tiles_done, const StopToken& stop) {
  const int64_t tile = model.shape().image_size, tile_count = model.shape().tile_count(),
                batch = model.batch(), latent = model.shape().latent;
  const auto told = [&](int64_t done) {
    if (tiles_done) tiles_done(done, grid.size());
  };

  // With the encoder's work shared, all tiles are encoded before the first is decoded, so that they are
  // decoded and added up in the order of the grid, whatever the blocks are.
  std::vector<std::byte> posteriors;  // empty: each tile is encoded by itself
  if (shared)
    posteriors = encode(model, *shared, shown, [&](int64_t encoded) {
      told(encoded / 2);
      stop.stop_if_requested();
    });
  const size_t posterior_bytes = posteriors.size() / static_cast<size_t>(grid.size());

  const bool of_cells = model.shape().blind > 0;
  auto start = [&](int64_t first) {
    const auto fill = [&](const SpectrumImageView& from, float* tiles) {
      for (int64_t b = 0; b < batch; ++b) {
        const int64_t number = std::min(first + b, grid.size() - 1);  // past the end the last tile repeats
        copy_tile(from, grid.origins[static_cast<size_t>(number)], tile, 0, tiles + b * tile_count);
      }
    };
    fill(prepared, model.next_tiles());
    model.load_tiles();
    if (of_cells && posteriors.empty()) {
      fill(shown, model.next_inputs());
      model.load_inputs();
    }
    if (!posteriors.empty()) {
      const size_t count = static_cast<size_t>(std::min(batch, grid.size() - first));
      model.backend().upload(posteriors.data() + static_cast<size_t>(first) * posterior_bytes,
                             model.posterior().data, count * posterior_bytes);
    }
    model.start_reconstruction(posteriors.empty() ? Model::Start::tiles : Model::Start::posterior);
  };
  start(0);
  for (int64_t first = 0; first < grid.size(); first += batch) {
    // While the device computes the next batch, this one is taken.
    if (first + batch < grid.size()) start(first + batch);
    const ReconstructedTiles batch_result = model.finish_reconstruction();
    const int64_t done = std::min(first + batch, grid.size());
    for (int64_t i = first; i < done; ++i)
      take(i, batch_result.tiles + (i - first) * tile_count,
           of_cells ? nullptr : batch_result.posterior.data() + (i - first) * 2 * latent);
    told(posteriors.empty() ? done : (grid.size() + done) / 2);
    if (done < grid.size() && stop.requested()) {
      model.finish_reconstruction();  // of the batch that was started
      throw Interrupted();
    }
  }
}

std::unique_ptr<SharedEncoder> shared_encoder(const Model& model, const TileGrid& grid, size_t memory) {
  return SharedEncoder::make(model, grid, std::min(memory, model.backend().memory().available / 2));
}

// One pass, of what is shown of an image with the totals of `prepared`.
Reconstruction reconstruct_shown(Model& model, const SpectrumImageView& shown,
                                 const SpectrumImageView& prepared, int64_t stride, Blend blend,
                                 const TilesDone& tiles_done, const StopToken& stop, size_t shared_memory) {
  const int64_t tile = model.shape().image_size, latent = model.shape().latent;
  expect(prepared.energy.size == model.shape().energy, "reconstruct_image: wrong number of channels");
  Reconstruction result;
  result.grid = grid_of(prepared.y.size, prepared.x.size, tile, stride);
  const TileGrid& grid = result.grid;
  if (model.shape().blind == 0) result.latent.resize(static_cast<size_t>(grid.size() * latent));
  BlendedCube cube(prepared.y.size, prepared.x.size, prepared.energy.size, tile, blend);
  reconstruct_grid(
      model, grid, shared_encoder(model, grid, shared_memory).get(), shown, prepared,
      [&](int64_t i, const float* spectra, const double* posterior) {
        cube.add(grid.origins[static_cast<size_t>(i)], spectra);
        if (posterior)
          std::transform(posterior, posterior + latent, result.latent.begin() + i * latent,
                         [](double v) { return static_cast<float>(v); });
      },
      tiles_done, stop);
  result.spectra = cube.take();
  return result;
}

}  // namespace

Reconstruction reconstruct_image(Model& model, const SpectrumImageView& prepared, int64_t stride, Blend blend,
                                 int64_t passes, const TilesDone& tiles_done, const StopToken& stop,
                                 size_t shared_memory) {
  const int64_t side = model.shape().blind, channels = prepared.energy.size, width = prepared.x.size;
  if (side == 0)
    return reconstruct_shown(model, prepared, prepared, stride, blend, tiles_done, stop, shared_memory);
  const auto share = static_cast<float>(1 / (BlindBlocks::share * static_cast<double>(passes)));
  Reconstruction result;
  result.spectra.resize(prepared.counts.size(), 0.0f);
  int64_t passed = 0;
  for (const BlindBlocks& blind : blind_passes(side, passes)) {
    CountArray counts(prepared.counts.begin(), prepared.counts.end());
    blind.clear(counts, width, channels, true);
    SpectrumImageView shown = prepared;
    shown.counts = counts;
    Reconstruction pass = reconstruct_shown(
        model, shown, prepared, stride, blend,
        [&](int64_t done, int64_t total) {
          if (tiles_done) tiles_done(passed * total + done, passes * total);
        },
        stop, shared_memory);
    blind.clear(pass.spectra, width, channels, false);
    for (size_t i = 0; i < result.spectra.size(); ++i) result.spectra[i] += share * pass.spectra[i];
    result.grid = std::move(pass.grid);
    ++passed;
  }
  return result;
}

struct RowReconstruction::Parts {
  Parts(Model& of, int64_t height, int64_t width, const Axis& energy, int64_t stride, Blend blend)
      : model(of),
        tile(of.shape().image_size),
        starts(tile_starts(height, tile, stride == 0 ? tile / 2 : stride)),
        row{tile, 1, 0, {}},
        slab{{"y", "", 0, 1, tile}, {"x", "", 0, 1, width}, energy, {}, {}},
        cube(tile, width, energy.size, tile, blend) {
    for (const int64_t x : tile_starts(width, tile, stride == 0 ? tile / 2 : stride))
      row.origins.push_back({0, x});
    row.columns = std::ssize(row.origins);
    shared = shared_encoder(model, row, size_t{1} << 30);
  }

  struct Slab {
    Axis y, x, energy;
    CountArray counts;  // of rows starts[next] and further, as far as they are there
    std::vector<uint8_t> excluded;
  };
  Model& model;
  int64_t tile;
  std::vector<int64_t> starts;  // of the rows of tiles
  TileGrid row;                 // one of them
  std::unique_ptr<SharedEncoder> shared;
  Slab slab;
  BlendedCube cube;  // of the rows from starts[next] on
  size_t next = 0;   // row of tiles
};

RowReconstruction::RowReconstruction(Model& model, int64_t height, int64_t width, const Axis& energy,
                                     int64_t stride, Blend blend) {
  if (model.shape().blind > 0)
    throw UserError(
        "a network of cells (model.latent=cell) does not reconstruct rows as they come; one of tiles does, "
        "and "
        "a baseline");
  expect(energy.size == model.shape().energy, "rows with another number of channels");
  parts_ = std::make_unique<Parts>(model, height, width, energy, stride, blend);
}
RowReconstruction::~RowReconstruction() = default;

int64_t RowReconstruction::reach() const {
  return parts_->tile - 1;
}

CountArray RowReconstruction::add(const SpectrumImageView& rows) {
  Parts& p = *parts_;
  p.slab.counts.insert(p.slab.counts.end(), rows.counts.begin(), rows.counts.end());
  p.slab.excluded.insert(p.slab.excluded.end(), rows.excluded.begin(), rows.excluded.end());
  const int64_t width = p.slab.x.size, row_size = width * p.slab.energy.size;
  CountArray finished;
  while (p.next < p.starts.size() && std::ssize(p.slab.counts) >= p.tile * row_size) {
    const SpectrumImageView tiles(
        p.slab.y, p.slab.x, p.slab.energy,
        std::span<const float>(p.slab.counts).first(static_cast<size_t>(p.tile * row_size)),
        std::span<const uint8_t>(p.slab.excluded).first(static_cast<size_t>(p.tile * width)));
    if (excluded_pixels(tiles.excluded) == p.tile * width) {
      const CountArray zeros(static_cast<size_t>(p.model.shape().tile_count()));
      for (const TileOrigin origin : p.row.origins) p.cube.add(origin, zeros.data());
    } else {
      if (p.shared) p.shared->forget();
      reconstruct_grid(p.model, p.row, p.shared.get(), tiles, tiles,
                       [&](int64_t i, const float* spectra, const double*) {
                         p.cube.add(p.row.origins[static_cast<size_t>(i)], spectra);
                       },
                       {}, {});
    }
    const int64_t done = p.next + 1 < p.starts.size() ? p.starts[p.next + 1] - p.starts[p.next] : p.tile;
    const CountArray taken = p.cube.take_rows(done);
    finished.insert(finished.end(), taken.begin(), taken.end());
    p.slab.counts.erase(p.slab.counts.begin(), p.slab.counts.begin() + done * row_size);
    p.slab.excluded.erase(p.slab.excluded.begin(), p.slab.excluded.begin() + done * width);
    ++p.next;
  }
  return finished;
}

std::vector<float> reconstruct_tiles(Model& model, std::span<const float> tiles) {
  const ModelShape& shape = model.shape();
  const auto tile_count = static_cast<size_t>(shape.tile_count());
  const size_t count = tiles.size() / tile_count;
  expect(count > 0 && count <= static_cast<size_t>(model.batch()), "reconstruct_tiles: at most a batch");
  const auto fill = [&](std::span<const float> from, float* to) {  // past the end the last tile repeats
    for (size_t b = 0; b < static_cast<size_t>(model.batch()); ++b)
      std::ranges::copy(from.subspan(std::min(b, count - 1) * tile_count, tile_count), to + b * tile_count);
  };
  fill(tiles, model.next_tiles());
  model.load_tiles();
  std::vector<float> result(tiles.size());
  const auto add = [&](const BlindBlocks* blind) {
    model.evaluate();
    for (size_t b = 0; b < count; ++b) {
      std::vector<float> told = model.evaluated_reconstruction(static_cast<int64_t>(b));
      if (blind) blind->clear(told, shape.image_size, shape.energy, false);
      for (size_t i = 0; i < tile_count; ++i) result[b * tile_count + i] += told[i];
    }
  };
  if (shape.blind == 0) add(nullptr);
  if (shape.blind > 0)
    for (const BlindBlocks& blind : blind_passes(shape.blind, 4)) {
      std::vector<float> shown(tiles.begin(), tiles.end());
      for (size_t b = 0; b < count; ++b)
        blind.clear(std::span(shown).subspan(b * tile_count, tile_count), shape.image_size, shape.energy,
                    true);
      fill(shown, model.next_inputs());
      model.load_inputs();
      add(&blind);
    }
  return result;
}

int64_t tiles_at_a_time(const TilesConfig& tiles, const DetectionConfig& detection, int64_t height,
                        int64_t width) {
  return std::min(detection.batch_size, grid_of(height, width, tiles.image_size, detection.stride).size());
}

}  // namespace eelsvae
