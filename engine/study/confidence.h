#pragma once

#include <array>
#include <cstdint>

namespace eelsvae {

// Exact interval for the share behind `count` of `total` independent trials (Clopper and Pearson, Biometrika
// 26, 404 (1934)): at either end, the share that would give so extreme a count with a probability of
// (1 - confidence) / 2. [0, 1] without trials.
std::array<double, 2> clopper_pearson(int64_t count, int64_t total, double confidence = 0.95);

}  // namespace eelsvae
