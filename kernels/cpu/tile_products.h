#pragma once

#include "kernels/cpu/tiles.h"

namespace eelsvae::cpu {

// The two ways to multiply tiles, a file each.
extern const TileOperations by_tile_registers, by_dot_products;

// add_weighted_rows interleaves so many columns at a time: lines that neighbour each other in memory are read
// one after the other.
constexpr int64_t columns_at_a_time = 128;

}  // namespace eelsvae::cpu
