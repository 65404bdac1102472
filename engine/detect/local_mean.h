#pragma once

#include <cstdint>
#include <span>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// What the spectra around each pixel make of it: for rows [first, last) of an image, the sum m of the spectra
// in the square that reaches so many pixels to every side, without those within local_guard of the pixel,
// times total(s) / total(m) of the pixel's spectrum s (rows, x, E). The guard keeps out what belongs to an
// anomaly of some pixels, and the noise that filters share among neighbours. As local detectors of anomalies
// have it (Reed and Yu, IEEE Trans. ASSP 38, 1760 (1990); Kwon and Nasrabadi, IEEE Trans. GRS 43, 388
// (2005)). Excluded pixels take no part and have 0; where none is left around a pixel, or their total is not
// positive, `instead` (E) takes m's place. Bits do not depend on which rows are asked for, nor on the number
// of threads. Into `means`, in the memory that this has.
void local_means(const SpectrumImageView& image, int64_t reach, int64_t first, int64_t last,
                 std::span<const double> instead, CountArray& means);

inline constexpr int64_t local_guard = 2;

}  // namespace eelsvae
