#pragma once

#include <optional>
#include <vector>

#include "engine/image/spectrum_image.h"
#include "kernels/image_operations.h"

namespace eelsvae {

// Filters over a spectrum image, in place. Beyond a border the image goes on mirrored about the outer edge of
// its last sample (d c b a | a b c d | d c b a), scipy.ndimage's mode "reflect". Excluded pixels become zero
// and give nothing to their neighbours, whose weights over y and x are those that are left, scaled to a sum
// of 1.

// Gaussian of standard deviation sigma over y, x and E (pixels and channels), cut off at 4 sigma:
// scipy.ndimage.gaussian_filter(counts, sigma, mode="reflect", truncate=4.0). sigma 0 changes nothing.
void gaussian_filter(SpectrumImage& image, double sigma);

// Mean over window x window pixels, window odd: scipy.ndimage.uniform_filter(counts, (window, window, 1)).
// With a map, that of the mapped counts, without another passage over memory.
void spatial_mean(SpectrumImage& image, int64_t window, const std::optional<LinearMap>& map = std::nullopt);

// Their parts, for a device that has image operations. Weights of the centre and of distances 1, 2, ... of
// these symmetric filters, which add up to 1; UserError as the filters. Of sigma 0 that is the centre alone.
std::vector<float> gaussian_weights(double sigma);
std::vector<float> mean_weights(int64_t window);
// What a filter's results are multiplied by, per pixel, where pixels are excluded and added nothing: zero for
// these, for the others the reciprocal of the weights that are left.
std::vector<float> normalizing_factors(const SpectrumImageView& image, const std::vector<float>& weights);

}  // namespace eelsvae
