#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/host_device.h"

namespace eelsvae {

// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"
// (SC 2011): four 32-bit words that depend on a 64-bit key and a 128-bit counter only. Any draw can be made
// anywhere, in any order, on any device.
struct Philox4 {
  uint32_t v[4];
};

EELSVAE_HOST_DEVICE inline Philox4 philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  uint32_t c0 = static_cast<uint32_t>(counter_low), c1 = static_cast<uint32_t>(counter_low >> 32);
  uint32_t c2 = static_cast<uint32_t>(counter_high), c3 = static_cast<uint32_t>(counter_high >> 32);
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    uint64_t p0 = static_cast<uint64_t>(0xD2511F53u) * c0;
    uint64_t p1 = static_cast<uint64_t>(0xCD9E8D57u) * c2;
    uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// A number in (0, 1), never 0 or 1.
EELSVAE_HOST_DEVICE inline double uniform(uint32_t word) {
  return (word + 0.5) * (1.0 / 4294967296.0);
}

// Two independent standard normal numbers from two words (Box-Muller).
struct NormalPair {
  double first, second;
};
EELSVAE_HOST_DEVICE inline NormalPair normal_pair(uint32_t a, uint32_t b) {
  double radius = std::sqrt(-2.0 * std::log(uniform(a)));
  double angle = 6.283185307179586476925 * uniform(b);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

// What a stream of draws is for; the upper counter bits, so that no two uses share a number.
enum class RandomStream : uint32_t {
  posterior = 1,
  initialization = 2,
  shuffle = 3,
  augmentation = 4,
  simulation = 5,
  prediction = 6,
  injected_changes = 7,
  score_head = 8
};

EELSVAE_HOST_DEVICE inline Philox4 philox(uint64_t seed, RandomStream stream, uint64_t step, uint64_t index) {
  return philox(seed, index, (static_cast<uint64_t>(stream) << 48) ^ step);
}

}  // namespace eelsvae
