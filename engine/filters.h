#pragma once

#include "engine/spectrum_image.h"

namespace eelsvae {

// Filters over a spectrum image, in place. Beyond a border the image goes on mirrored about the outer edge of
// its last sample (d c b a | a b c d | d c b a), scipy.ndimage's mode "reflect". Excluded pixels become zero
// and give nothing to their neighbours, whose weights over y and x are those that are left, scaled to a sum
// of 1.

// Gaussian of standard deviation sigma over y, x and E (pixels and channels), cut off at 4 sigma:
// scipy.ndimage.gaussian_filter(counts, sigma, mode="reflect", truncate=4.0). sigma 0 changes nothing.
void gaussian_filter(SpectrumImage& image, double sigma);

// Mean over window x window pixels, window odd: scipy.ndimage.uniform_filter(counts, (window, window, 1)).
void spatial_mean(SpectrumImage& image, int64_t window);

}  // namespace eelsvae
