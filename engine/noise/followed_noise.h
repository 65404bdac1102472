#pragma once

#include <span>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// How much of the noise of a spectrum is in what is expected of it (y, x, E): 0 where the expectation does
// not know the spectrum, 1 where it is the spectrum. The slope of the expected against the observed counts in
// second differences along y, x and energy at once, where smooth spectra that change slowly from pixel to
// pixel leave nothing but noise. Along energy the values are 1, 2, 4, ... up to `widest` channels apart, and
// the largest slope counts: what was smoothed along energy holds no noise of the finest kind. Along y or x
// alone where the other has fewer than three pixels. By about 4000 pixels; excluded ones and their neighbours
// do not count. 0 where nothing can be told.
double followed_noise(const SpectrumImageView& observed, std::span<const float> expected, int64_t widest);

// How far what is expected lies from the spectra, by the distance of pixels `lag` apart along x (along y
// where there are no two): the median over the pixels of sum (o - x)^2 / (sum (o - neighbour)^2 / 2). About
// 1, or less, where only noise is left; far more where units, axes or order are others. 0 where nothing can
// be told.
double relative_distance(const SpectrumImageView& observed, std::span<const float> expected, int64_t lag);

}  // namespace eelsvae
