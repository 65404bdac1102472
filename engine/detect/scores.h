#pragma once

#include <span>
#include <vector>

#include "engine/detect/residual_model.h"
#include "engine/image/energy_axis.h"
#include "engine/image/spectrum_image.h"
#include "engine/image/tiling.h"

// Scores of every pixel (y, x) by how unlike its observed spectrum is to what is expected of it; `expected`
// is a cube (y, x, E). Larger fits worse. All are finite; what they say of excluded pixels means nothing. The
// windowless one with a matched filter is in whitened_score.h.
namespace eelsvae {

// 1 - r, r being Pearson's correlation over the channels of the window, as published. Between 0 (alike) and
// 2; r counts as 0 where one of the two is constant or not finite in the window.
std::vector<float> pearson_scores(const SpectrumImageView& observed, std::span<const float> expected,
                                  ChannelWindow window);

// Edges are narrower than this, backgrounds wider.
inline constexpr double edge_width = 10;  // eV

// The same after the smooth background, which all spectra share and which r is full of, is taken out of both:
// what a local straight line, fitted with Gaussian weights of standard deviation `smoothing` channels
// (Cleveland, JASA 74, 829 (1979)), makes of the spectrum at every channel of the window.
std::vector<float> pearson_background_scores(const SpectrumImageView& observed,
                                             std::span<const float> expected, ChannelWindow window,
                                             double smoothing);

// Mean over the window of z^2, z being the residual in standard deviations of the noise (ResidualModel): for
// Gaussian noise of known covariance the deviance per channel, about 1 where only noise is left.
std::vector<float> deviance_scores(const SpectrumImageView& observed, std::span<const float> expected,
                                   const ResidualModel& model, ChannelWindow window);

// How much less common a latent vector is than the most common one: for every tile the log of the highest
// density less that of its own, in nats. The density is estimated from the other tiles' posterior means with
// a Gaussian kernel (Scott, Multivariate Density Estimation, 1992: bandwidth of unit j is tiles^(-1/(d+4))
// times its standard deviation) over the d units whose variance exceeds 0.01; without any, all are equally
// common. latent: (tiles, units).
std::vector<double> latent_rarity(std::span<const float> latent, int64_t units);

// Pearson's score times (1 + rarity), the rarity of a pixel being the blended mean over the tiles that hold
// it: unusual in latent space and badly reconstructed, after the published combination of both.
std::vector<float> latent_scores(const std::vector<float>& pearson, const SpectrumImageView& observed,
                                 const TileGrid& grid, std::span<const double> rarity, Blend blend);

}  // namespace eelsvae
