#pragma once

#include <cstdint>
#include <span>

#include "engine/detect/change.h"
#include "engine/detect/residual_model.h"
#include "engine/image/energy_axis.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

// Explains the mean spectrum of pixels, in a window of channels, by changes of its mean expected spectrum x.
// Of one to four neighbouring peaks (spectral_features.h),
//   shift  p(E - d) - p(E)               width  p convolved with a Gaussian, less p (or that backwards)
//   amount a p                           ratio  a (p_1 / area_1 - p_2 / area_2)
// p is what lies above steps that rise with the peaks' area (Shirley, Phys. Rev. B 5, 4709 (1972)), or, but
// for ratios, above the background before them, c0 + c1 E^-3, going on as E^-3 behind them. Besides, a
// Gaussian peak and a step going on as E^-3 of any energy; x and a constant (intensity); and the background
// before the first peak times 1 and ln E, and a constant (background). The constants are there because
// scaling has moved the zero of counts.
//
// With z as ResidualModel has it, meaned over the pixels, and its components' strengths S, what is left has
// the covariance
//   C = noise I + U^T diag(level S) U:
// noise is meaned, while the normal variation of neighbours is alike. noise: the variance of the mean's, in
// units of z^2. An expectation that has the very sum of what it is compared with was scaled to it, changes
// included, and is scaled anew beside them.
//
// Changes are fitted by least squares (Levenberg, Q. Appl. Math. 2, 164 (1944); Marquardt, J. SIAM 11, 431
// (1963)), and added, three at most and none twice to the same peaks, while that lowers
//   chi^2 + k ln channels + 2 ln m  for each,
// Schwarz's criterion for k parameters, extended for a choice among m changes (Chen and Chen, Biometrika 95,
// 759 (2008)); one that later ones have made needless is taken out again. Uncertainties are those of the
// joint fit.
//
// expected: (y, x, E). Nothing is fitted unless energies are in eV, ascend from 10 eV or more, and the window
// has 16 channels. std::logic_error for no pixels or an expectation of another size.
Explanation explain(const SpectrumImageView& observed, std::span<const float> expected,
                    std::span<const int64_t> pixels, const ResidualModel& model, double noise,
                    ChannelWindow window);

// The variance of the noise in z of one pixel: the mean square over the channels of what lies along no
// component, the median over pixels that are neither excluded nor in the mask (y, x), some thousand of them.
// ResidualModel's own level is that of independent pixels, as which filtered ones do not count.
double noise_of_pixel(const SpectrumImageView& observed, std::span<const float> expected,
                      const ResidualModel& model, std::span<const uint8_t> mask);

}  // namespace eelsvae
