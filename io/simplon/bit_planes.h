#pragma once

#include <cstddef>
#include <span>

namespace eelsvae {

// Undoes the bitshuffle of numbers of element_bytes (1, 2 or 4) bytes, of which there are a multiple of 8.
// Their bits lie in planes, first the lowest bit of all of them, then the next one, ...; in a plane the bit i
// of the byte j belongs to element 8 j + i. (https://github.com/kiyo-masui/bitshuffle, README) Both are
// `out.size()` bytes long and do not overlap.
void join_bit_planes(std::span<const std::byte> planes, size_t element_bytes, std::span<std::byte> out);

}  // namespace eelsvae
