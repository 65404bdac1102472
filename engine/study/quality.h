#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/image/spectrum_image.h"
#include "engine/noise/noise_model.h"

namespace eelsvae {

// How well expected spectra describe observed ones. Pixels of observed.excluded do not count. The range is
// that of the observed counts, largest less smallest.
//
// PSNR and SSIM compare images as eyes do; with noisy counts a perfect expectation scores low in both,
// because the noise is no part of it. The other two measures ask whether what is left over is noise.
struct ReconstructionQuality {
  // 10 log10(range^2 / mean squared difference), in dB. Infinite if nothing differs; absent for counts that
  // are all equal.
  std::optional<double> psnr_db;
  // Mean structural similarity (Z. Wang et al., IEEE Trans. Image Process. 13 (2004) 600) with uniform
  // windows of 7 x 7 pixels inside the image, sample variances, K1 = 0.01 and K2 = 0.03, which is
  // skimage.metrics.structural_similarity(observed, expected, data_range=range): of the maps summed over
  // energy, with the range of the observed map, and as the mean over the images of single channels, with the
  // range of the cube (channel_axis=-1). Windows with an excluded pixel do not count. Absent where no window
  // is left or all counts are equal.
  std::optional<double> ssim_map, ssim_channels;
  // Mean over pixels and channels of (observed - expected)^2 / noise.variance(): 1 where only noise
  // is left, less where expected follows the noise, too.
  double reduced_deviance = 0;
  // [l - 1]: mean over pixels of sum over e of r[e] r[e + l] / sum over e of r[e]^2, with r = observed -
  // expected: 0 for white noise at every lag l, positive where whole features are left over. Filters
  // (preprocess.sigma) make noise correlate, too. Pixels without any residual do not count; 0 if none has
  // one.
  std::vector<double> residual_autocorrelation;
};

// expected: (y, x, E). lags: from 1 to this one, fewer than the image has channels. All counts that are not
// excluded are finite, and there are some. Independent of the number of threads.
ReconstructionQuality reconstruction_quality(const SpectrumImage& observed, std::span<const float> expected,
                                             const NoiseModel& noise, int64_t lags);

}  // namespace eelsvae
