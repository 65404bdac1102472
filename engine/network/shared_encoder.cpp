#include "engine/network/shared_encoder.h"

#include <algorithm>

namespace eelsvae {
namespace {

constexpr int convolutions = 4;

size_t aligned(size_t bytes) {
  return (bytes + 4095) / 4096 * 4096;
}

// For each `side` tiles along one scan axis, the last ones maybe fewer.
std::vector<SharedLines> share_in_blocks(const std::vector<int64_t>& starts, int64_t tile, int64_t side,
                                         const std::vector<AxisWindow>& windows) {
  std::vector<SharedLines> shared;
  for (int64_t first = 0; first < std::ssize(starts); first += side)
    shared.push_back(share_lines(
        std::span(starts).subspan(static_cast<size_t>(first),
                                  static_cast<size_t>(std::min(side, std::ssize(starts) - first))),
        tile, windows));
  return shared;
}

}  // namespace

std::unique_ptr<SharedEncoder> SharedEncoder::make(const Model& model, const TileGrid& grid, size_t memory) {
  // The larger a block, the more its tiles share.
  std::unique_ptr<SharedEncoder> best;
  for (int64_t side = 2; side <= std::max<int64_t>(2, std::max(grid.rows, grid.columns)); ++side) {
    std::unique_ptr<SharedEncoder> larger(new SharedEncoder(model, grid, side));
    if (!larger->make_convolutions()) return nullptr;
    if (larger->memory_bytes() > memory) break;
    if (!best || larger->work_ < best->work_) best = std::move(larger);
  }
  constexpr double worthwhile = 0.9;
  if (!best || best->work_ > worthwhile) return nullptr;
  best->memory_.emplace(model.backend(), best->memory_bytes());
  return best;
}

SharedEncoder::SharedEncoder(const Model& model, const TileGrid& grid, int64_t side)
    : model_(model), grid_(grid), block_of_(static_cast<size_t>(grid.size())) {
  std::vector<int64_t> y, x;
  for (int64_t row = 0; row < grid.rows; ++row)
    y.push_back(grid.origins[static_cast<size_t>(grid.index(row, 0))].y);
  for (int64_t column = 0; column < grid.columns; ++column)
    x.push_back(grid.origins[static_cast<size_t>(grid.index(0, column))].x);
  std::vector<AxisWindow> along_y, along_x;
  for (int k = 0; k < convolutions; ++k) {
    const Conv3dProblem p = model.shape().convolution(k, 1);
    along_y.push_back({p.kernel.h, p.stride.h, p.padding.h});
    along_x.push_back({p.kernel.w, p.stride.w, p.padding.w});
  }
  y_ = share_in_blocks(y, grid.tile, side, along_y);
  x_ = share_in_blocks(x, grid.tile, side, along_x);

  double shared = 0, alone = 0;
  for (size_t down = 0; down < y_.size(); ++down)
    for (size_t across = 0; across < x_.size(); ++across) {
      const Block& block = blocks_.emplace_back(Block{
          static_cast<int64_t>(down) * side, static_cast<int64_t>(across) * side, y_[down], x_[across], {}});
      for (int64_t i = 0; i < block.y.tiles; ++i)
        for (int64_t j = 0; j < block.x.tiles; ++j) {
          const int64_t tile = grid.index(block.row + i, block.column + j);
          order_.push_back(tile);
          block_of_[static_cast<size_t>(tile)] = blocks_.size() - 1;
        }
      for (int k = 0; k < convolutions; ++k) {
        const Conv3dProblem tile = model.shape().convolution(k, 1);
        const double lines = static_cast<double>(block.y.counts[static_cast<size_t>(k) + 1] *
                                                 block.x.counts[static_cast<size_t>(k) + 1]);
        shared += tile.flops() * lines / static_cast<double>(tile.out().h * tile.out().w);
        alone += tile.flops() * static_cast<double>(block.y.tiles * block.x.tiles);
      }
      even_ = std::max({even_, bytes(block, 0), bytes(block, 2), bytes(block, 4)});
      odd_ = std::max({odd_, bytes(block, 1), bytes(block, 3),
                       aligned(static_cast<size_t>(row_of(block)) * sizeof(float))});
    }
  work_ = shared / alone;
}

int64_t SharedEncoder::row_of(const Block& block) const {
  return block.x.counts[0] * model_.shape().energy;
}

size_t SharedEncoder::bytes(const Block& block, int k) const {
  const ModelShape& shape = model_.shape();
  const int64_t line = k == 0
                           ? shape.energy
                           : shape.convolution(k - 1, 1).out().e * shape.channels[static_cast<size_t>(k) - 1];
  const auto layer = static_cast<size_t>(k);
  return aligned(static_cast<size_t>(block.y.counts[layer] * block.x.counts[layer] * line) *
                 size_of(model_.backend().storage_type()));
}

// False if the backend has none.
bool SharedEncoder::make_convolutions() {
  for (Block& block : blocks_)
    for (int k = 0; k < convolutions; ++k) {
      const auto layer = static_cast<size_t>(k);
      Conv3dProblem problem = model_.shape().convolution(k, 1);
      problem.in.h = block.y.counts[layer];
      problem.in.w = block.x.counts[layer];
      block.convolutions.push_back(model_.backend().make_gathered_conv3d(
          problem, {block.y.sources[layer], block.x.sources[layer]}, /*relu=*/true));
      if (!block.convolutions.back()) return false;
      workspace_ = std::max(workspace_, block.convolutions.back()->workspace_bytes());
    }
  return true;
}

void SharedEncoder::encode(const SpectrumImageView& prepared, const Block& block) {
  const TileOrigin first = grid_.origins[static_cast<size_t>(grid_.index(block.row, block.column))];
  Backend& backend = model_.backend();
  const DType type = backend.storage_type();
  char* places[2] = {static_cast<char*>(memory_->data()), static_cast<char*>(memory_->data()) + even_};
  void* workspace = places[1] + odd_;
  const int64_t count = row_of(block);
  // Rows come as the image has them to where the first convolution's results will lie.
  for (int64_t row = 0; row < block.y.counts[0]; ++row) {
    backend.upload(prepared.spectrum((first.y + row) * prepared.x.size + first.x), places[1],
                   static_cast<size_t>(count) * sizeof(float));
    backend.convert({places[1], DType::f32, count},
                    {places[0] + static_cast<size_t>(row * count) * size_of(type), type, count});
  }
  const std::vector<Model::Convolution> weights = model_.encoder_convolutions();
  for (int k = 0; k < convolutions; ++k) {
    const auto layer = static_cast<size_t>(k);
    const auto numbers = [&](size_t i, Extent3 extent, int64_t channels) {
      return block.y.counts[i] * block.x.counts[i] * extent.e * channels;
    };
    const Conv3dProblem& p = weights[layer].problem;
    block.convolutions[layer]->forward(
        {places[k % 2], type, numbers(layer, p.in, p.in_channels)}, weights[layer].packed,
        weights[layer].bias, {places[(k + 1) % 2], type, numbers(layer + 1, p.out(), p.out_channels)},
        workspace);
  }
}

void SharedEncoder::copy_features(const SpectrumImageView& prepared, int64_t tile, Array features) {
  const Block& block = blocks_[block_of_[static_cast<size_t>(tile)]];
  if (encoded_ != &block) {
    encode(prepared, block);
    encoded_ = &block;
  }
  const int64_t row = tile / grid_.columns - block.row, column = tile % grid_.columns - block.column,
                lines = block.y.tile_lines(), columns = block.x.tile_lines();
  const int64_t line = features.count / (lines * columns);
  const Array from = {memory_->data(), features.type, block.y.counts.back() * block.x.counts.back() * line};
  for (int64_t i = 0; i < lines; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      const int64_t y = block.y.of_tiles[static_cast<size_t>(row * lines + i)],
                    x = block.x.of_tiles[static_cast<size_t>(column * columns + j)];
      model_.backend().convert(slice(from, (y * block.x.counts.back() + x) * line, line),
                               slice(features, (i * columns + j) * line, line));
    }
}

}  // namespace eelsvae
