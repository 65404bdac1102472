#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/image/spectrum_image.h"
#include "engine/image/tiling.h"
#include "engine/network/model.h"
#include "engine/network/shared_lines.h"
#include "kernels/backend_memory.h"

namespace eelsvae {

// The encoder's convolutions over blocks of overlapping tiles, where what tiles have in common is computed
// once (shared_lines.h). The results have the bits of the model's own pass over each tile. What follows the
// convolutions cannot be shared: it sees whole tiles.
class SharedEncoder {
 public:
  // Null where the model's backend has no convolutions of gathered lines, where a block of tiles would need
  // more than `memory` bytes, or where sharing saves less than a tenth of the convolutions' work. Refers to
  // the model, whose weights must not change.
  static std::unique_ptr<SharedEncoder> make(const Model& model, const TileGrid& grid, size_t memory);

  // All tiles of the grid, block by block.
  const std::vector<int64_t>& order() const { return order_; }
  // The work that is left, as a share of what all tiles take one by one.
  double work() const { return work_; }
  // What it takes of the backend's memory.
  size_t memory_bytes() const { return even_ + odd_ + workspace_; }
  // Copies what the convolutions make of a tile to `features`, ModelShape::flattened() activations of the
  // backend's memory; where the tile is in another block than the last one, all of its block is encoded
  // first.
  void copy_features(const SpectrumImageView& prepared, int64_t tile, Array features);
  // What was encoded was another image's.
  void forget() { encoded_ = nullptr; }

 private:
  // Tiles that are encoded together: a rectangle of the grid, as many tiles as y and x have.
  struct Block {
    int64_t row, column;
    const SharedLines &y, &x;
    std::vector<std::unique_ptr<ForwardConv3d>> convolutions;
  };
  SharedEncoder(const Model& model, const TileGrid& grid, int64_t side);
  // Numbers of a row of pixels of the block.
  int64_t row_of(const Block& block) const;
  // Bytes of the activations before (0) or after the k-th convolution.
  size_t bytes(const Block& block, int k) const;
  bool make_convolutions();
  void encode(const SpectrumImageView& prepared, const Block& block);

  const Model& model_;
  TileGrid grid_;
  std::vector<SharedLines> y_, x_;  // of each row and each column of blocks
  std::vector<Block> blocks_;
  std::vector<int64_t> order_;
  std::vector<size_t> block_of_;  // of each tile
  double work_ = 1;
  size_t even_ = 0, odd_ = 0, workspace_ = 0;  // bytes: activations take turns in two places
  std::optional<BackendMemory> memory_;
  const Block* encoded_ = nullptr;
};

}  // namespace eelsvae
