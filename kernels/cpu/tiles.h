#pragma once

#include <cstdint>

#include "kernels/array.h"
#include "kernels/cpu/ahead.h"

namespace eelsvae::cpu {

// Products of bf16 matrices in the tile registers of AMX. A tile holds 16 rows of 64 bytes: 16 x 32 numbers
// of the left factor, 32 x 16 of the right one, whose neighbouring rows are interleaved in pairs, or 16 x 16
// sums in f32.
constexpr int64_t tile_rows = 16, tile_depth = 32, tile_numbers = tile_rows * tile_depth;

// Whether this processor has such registers, the system lends them to this process and oneDNN may use them
// too (ONEDNN_MAX_CPU_ISA).
bool has_tiles();

// The following need has_tiles(). Their tiles lie one after another, those along the depth first.

// Left factor: the transpose of `count` rows of `columns` numbers, `pitch` apart. What is missing to whole
// tiles becomes 0.
void transpose_to_tiles(const bfloat16* values, int64_t pitch, int64_t count, int64_t columns,
                        bfloat16* tiles);
// Right factor: `columns` tiles, `tiles_pitch` apart, from 32 rows that start `step` apart.
void interleave_to_tiles(const bfloat16* values, int64_t step, int64_t columns, bfloat16* tiles,
                         int64_t tiles_pitch);
// Right factor: one tile from 32 rows of 16 numbers, `pitch` apart, or, transposed, 16 rows of 32.
void pack_tile(const float* values, int64_t pitch, bool transposed, bfloat16* tile);
// Where the tiles of a product's factors begin.
struct TilePair {
  const bfloat16 *left, *right;
};
using TilesAhead = Ahead<64>;
// sums[16 rows, 16 columns] += the sum over `count` products left * right, in tiles; rows of sums are
// `stride` apart. With every four tiles of sums `ahead_lines` lines of the memory ahead are fetched to the
// second-level cache.
void add_tile_products(const TilePair* products, int64_t count, int64_t rows, int64_t depth, int64_t columns,
                       TilesAhead& ahead, int64_t ahead_lines, float* sums, int64_t stride);

// A left factor of 32 rows, as they lie in memory, where the tiles of the other one begin, and memory that
// will be read later.
struct TileProduct {
  const bfloat16 *rows, *tiles;
  const void* ahead;
};
// sums (32, 32) = the sum over `count` products; rows of the left factors are `pitch` apart and `depth` tiles
// long (0: nothing to add), of the right factors there are two columns of tiles. With each product
// `ahead_lines` lines of its memory ahead are fetched to the second-level cache. Where `rows` is 16 or less,
// the last 16 are neither read nor computed.
void sum_tile_products(const TileProduct* products, int64_t count, int64_t rows, int64_t pitch, int64_t depth,
                       int64_t ahead_lines, float* sums);
// values[r * pitch + c] = max(sums[r, c] + bias[c], floor) for `rows` rows of 32; bias may be null, NaN
// stays.
void store_sums(const float* sums, int64_t rows, const float* bias, float floor, bfloat16* values,
                int64_t pitch);

// sums (16, 16) = rows * right factor: rows, as they lie in memory `pitch` apart, are `depth` tiles long.
void multiply_rows(const bfloat16* rows, int64_t pitch, const bfloat16* tiles, int64_t depth, float* sums);
// Right factor: `depth` tiles from the transpose of `count` (up to 16) rows, `pitch` apart; further columns
// are 0.
void transpose_rows(const bfloat16* rows, int64_t pitch, int64_t count, int64_t depth, bfloat16* tiles);
// sums[r * stride + c] += sum over 32 k of left[r * 32 + k] * rows[k * pitch + c], for as many r as left
// factors of the tiles in use have rows and c < columns, a multiple of 32.
void add_weighted_rows(const bfloat16* left, const bfloat16* rows, int64_t pitch, int64_t columns,
                       float* sums, int64_t stride);

// For as long as this lives the thread's tile registers are set up; products need that.
class TilesInUse {
 public:
  // Left factors and sums have so many rows.
  explicit TilesInUse(int64_t left_rows = tile_rows);
  ~TilesInUse();
  TilesInUse(const TilesInUse&) = delete;
  TilesInUse& operator=(const TilesInUse&) = delete;
};

// `rounds` times four products of two tiles, all in registers.
constexpr double tile_flops = 4 * 2.0 * tile_rows * tile_rows * tile_depth;
float multiply_tiles(int64_t rounds);

}  // namespace eelsvae::cpu
