#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/detect/deviation.h"
#include "engine/detect/normal_variation.h"
#include "engine/image/energy_axis.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

struct WhitenedScores {
  std::vector<float> scores;          // (y, x); NaN in excluded pixels
  std::vector<Deviation> deviations;  // (y, x): what the score was reached by
};

// The largest smoothed, noise-whitened residual over energy, in standard deviations. Shapes t are looked for
// at every energy of the window: a peak (Gaussian) and a pair of opposite peaks (its derivative, what a shift
// leaves), half a channel to a sixteenth of the axis wide; and, in windows of 8 channels to a quarter of the
// axis, the fine structure of the mean expected spectrum and its first and second derivative: edges that
// grow, move or broaden. Shapes go through the model's whitening, as z does. With z, U and the covariance I +
// U^T diag(L) U of ResidualModel, the matched filter (Kay, Fundamentals of Statistical Signal Processing
// II, 4.4) is
//   y_t = t^T C^-1 z / sqrt(t^T C^-1 t),   C^-1 = I - U^T diag(L / (1 + L)) U,
// and the score max_t |y_t| / s_t, s_t being the spread that y_t has over the image, or the median over all t
// if that is more.
//
// The amounts U z and L are those of NormalVariation, what the surrounding pixels foretell taken out. So a
// composition that changes over the specimen or a drifting scan line is no anomaly, but the same change in a
// single pixel is; and where neighbours differ by nature, as at an interface, more is needed.
WhitenedScores whitened_scores(const SpectrumImageView& observed, std::span<const float> expected,
                               const NormalVariation& variation, ChannelWindow window);

}  // namespace eelsvae
