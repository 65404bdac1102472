#pragma once

#include <cstdint>

#include "kernels/array.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/prefetch_queue.h"

namespace eelsvae::cpu {

// Products of bf16 matrices by tiles. A tile holds 16 rows of 64 bytes: 16 x 32 numbers of the left factor,
// 32 x 16 of the right one, whose neighbouring rows are interleaved in pairs, or 16 x 16 sums in f32. That is
// what the tile registers of AMX multiply, and what dot products of AVX512_BF16 read as well.
constexpr int64_t tile_rows = 16, tile_depth = 32, tile_numbers = tile_rows * tile_depth;

// Whether the kernels of this compilation may use tiles at all. What follows is defined only where it is
// true.
#ifdef __AVX512F__
constexpr bool tiles_exist = true;
#else
constexpr bool tiles_exist = false;
#endif

// How tiles are laid out in memory: one after another, those along the depth first. For AVX512_BF16.

// Left factor: the transpose of `count` rows of `columns` numbers, `pitch` apart. What is missing to whole
// tiles becomes 0.
void transpose_to_tiles(const bfloat16* values, int64_t pitch, int64_t count, int64_t columns,
                        bfloat16* tiles);
// Right factor: `columns` tiles, `tiles_pitch` apart, from 32 rows that start `step` apart.
void interleave_to_tiles(const bfloat16* values, int64_t step, int64_t columns, bfloat16* tiles,
                         int64_t tiles_pitch);
// Right factor: one tile from 32 rows of 16 numbers, `pitch` apart.
void pack_tile(const float* values, int64_t pitch, bfloat16* tile);
// Right factor: `depth` tiles from the transpose of `count` (up to 16) rows, `pitch` apart; further columns
// are 0.
void transpose_rows(const bfloat16* rows, int64_t pitch, int64_t count, int64_t depth, bfloat16* tiles);
// values[r * pitch + c] = max(sums[r * 32 + c] + bias[c], floor) for `rows` rows of up to 32 columns; bias
// may be null, NaN stays.
void store_sums(const float* sums, int64_t rows, int64_t columns, const float* bias, float floor,
                bfloat16* values, int64_t pitch);

// Where the tiles of a product's factors begin.
struct TilePair {
  const bfloat16 *left, *right;
};
using TilePrefetchQueue = PrefetchQueue<64>;
// A left factor of 32 rows, as they lie in memory, where the tiles of the other one begin, and memory that
// will be read later.
struct TileProduct {
  const bfloat16 *rows, *tiles;
  const void* ahead;
};
// The products, by tile registers or by dot products of vectors.
struct TileOperations {
  // sums[16 rows, 16 columns] += the sum over `count` products left * right, in tiles; rows of sums are
  // `stride` apart. With every few tiles of sums `ahead_lines` lines of the memory ahead are fetched to the
  // second-level cache.
  void (*add_products)(const TilePair* products, int64_t count, int64_t rows, int64_t depth, int64_t columns,
                       TilePrefetchQueue& ahead, int64_t ahead_lines, float* sums, int64_t stride);
  // sums (16, 16) = rows * right factor: rows, as they lie in memory `pitch` apart, are `depth` tiles long.
  void (*multiply_rows)(const bfloat16* rows, int64_t pitch, const bfloat16* tiles, int64_t depth,
                        float* sums);
  // sums[r * stride + c] += sum over 32 k of left[r * 32 + k] * rows[k * pitch + c] for `count` (up to 16) r,
  // of which left has 16, and c < columns, a multiple of 32.
  void (*add_weighted_rows)(int64_t count, const bfloat16* left, const bfloat16* rows, int64_t pitch,
                            int64_t columns, float* sums, int64_t stride);
  // Set up and give back what a thread needs while it multiplies; left factors and sums have so many rows.
  void (*begin)(int64_t left_rows);
  void (*end)();
};
// Null where the set has neither.
const TileOperations* tile_operations(InstructionSet set);

// By the registers of AMX, which have to be in use: sums (32, 32) = the sum over `count` products; rows of
// the left factors are `pitch` apart and `depth` tiles long (0: nothing to add), of the right factors there
// are two columns of tiles. With each product `ahead_lines` lines of its memory ahead are fetched to the
// second-level cache. Where `rows` or `columns` are 16 or less, the last 16 are neither read nor computed.
void sum_tile_products(const TileProduct* products, int64_t count, int64_t rows, int64_t columns,
                       int64_t pitch, int64_t depth, int64_t ahead_lines, float* sums);

// For as long as this lives the thread may multiply tiles.
class TilesInUse {
 public:
  explicit TilesInUse(const TileOperations& operations, int64_t left_rows = tile_rows)
      : end_(operations.end) {
    operations.begin(left_rows);
  }
  ~TilesInUse() { end_(); }
  TilesInUse(const TilesInUse&) = delete;
  TilesInUse& operator=(const TilesInUse&) = delete;

 private:
  void (*end_)();
};

// The 32 rows of 16 k numbers of a right factor, as they lie in memory `pitch` apart, as tiles one after
// another: `columns` numbers, a multiple of 32.
void interleave_rows(const bfloat16* rows, int64_t pitch, int64_t columns, bfloat16* tiles);

// `rounds` times four products of two tiles, all in the registers of AMX.
constexpr double tile_flops = 4 * 2.0 * tile_rows * tile_rows * tile_depth;
float multiply_tiles(int64_t rounds);

}  // namespace eelsvae::cpu
