#pragma once

#include <vector>

#include "engine/detect/residual_model.h"
#include "engine/image/energy_axis.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

// How unusual the amounts of a residual model's components are in each pixel: of shapes that normal spectra
// have, too much or too little for the place. What a change of shape leaves is for whitened_score.h, which
// weighs these amounts down; an atom in the wrong place has an ordinary spectrum and shows only here.
//
// a_k = U_k z over the window, of every pixel, for those components whose amounts the expectation foretells:
// where U_k (x - mean x) / sqrt(noise variance), x being the expected spectra, varies at least `foretold`
// times as much over the image as a_k. Amounts that nothing foretells say nothing: the mean spectrum's at an
// interface are the two materials. Less their median, in units of their spread (68.3 % quantile of what is
// left), both over the pixels at which the amounts of the expectation change as steeply as at this one, since
// an error of place shows there and nowhere else, the sum of their squares is chi^2 distributed with as many
// degrees of freedom as there are such components, where they are normal and independent; scores are its
// Wilson and Hilferty transform (Proc. Natl. Acad. Sci. 17, 684 (1931)), about N(0, 1).
struct AmountScores {
  static constexpr double foretold = 4;
  // What the neighbours can add to a pixel's own score at most, so that what lies beside a defect and shows
  // nothing itself is not found.
  static constexpr float lent = 2;

  std::vector<float> of_pixels;  // (y, x), NaN in excluded pixels; empty if no amounts are foretold
  // Of amounts that are pooled over the size of the probe; empty where neighbours are not alike.
  std::vector<float> of_probe;
  // Standard deviation of the probe as it shows in the amounts, pixels: where it is a Gaussian, amounts of
  // pixels a distance d apart correlate as exp(-d^2 / (4 probe^2)). 0: not at all.
  double probe = 0;
};
AmountScores amount_scores(const SpectrumImageView& observed, std::span<const float> expected,
                           const ResidualModel& model, ChannelWindow window);

}  // namespace eelsvae
