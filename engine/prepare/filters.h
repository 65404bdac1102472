#pragma once

#include <cstdint>
#include <vector>

namespace eelsvae {

// Symmetric filters over a spectrum image: the weights of the centre and of distances 1, 2, ..., which add up
// to 1 (DeviceImage::filter() of kernels/image_operations.h applies them).

// Gaussian of standard deviation sigma (pixels and channels), cut off at 4 sigma, as
// scipy.ndimage.gaussian_filter(counts, sigma, mode="reflect", truncate=4.0) has it. Of sigma 0 the centre
// alone.
std::vector<float> gaussian_weights(double sigma);
// Mean over `window` pixels, an odd number, as scipy.ndimage.uniform_filter has it.
std::vector<float> mean_weights(int64_t window);

}  // namespace eelsvae
