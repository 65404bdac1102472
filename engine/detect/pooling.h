#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace eelsvae {

// Pools evidence over neighbouring pixels, for defects that extend over several: with standardised scores z
// (height, width), which are N(0, 1) in normal pixels, and the weights w(d) = exp(-|d|^2 / (2 sigma^2)) of
// neighbours up to round(3 sigma) rows and columns away,
//
//   pooled(p) = sum over q of w(q - p) z(q) / sqrt(sum over q of w(q - p)^2)
//
// the sums going over the pixels that have a score. This is Stouffer's weighted combination of z-scores
// (T. Liptak, Magyar Tud. Akad. Mat. Kutato Int. Kozl. 3 (1958) 171), so where the z of normal pixels are
// independent, pooled scores are N(0, 1) again, at borders and beside excluded pixels too; a deviation that
// fills the weights' reach comes out about 2 sqrt(pi) sigma times larger, one of a single pixel sqrt(pi)
// sigma times smaller. Where filters have made neighbours alike (preprocess.sigma, xy_window), pooled scores
// of normal pixels spread wider than 1 and must be standardised anew.
//
// NaN marks pixels without a score; they have none afterwards. sigma in pixels; 0: z as it is. Preconditions:
// z is finite or NaN, sigma finite and not negative.
std::vector<float> pool_evidence(std::span<const float> z, int64_t height, int64_t width, double sigma);

}  // namespace eelsvae
