#pragma once

#include <span>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// How much of the noise of a spectrum is in what is expected of it (y, x, E): 0 where the expectation does
// not know the spectrum, 1 where it is the spectrum. The slope of the expected against the observed counts in
// second differences along y, x and energy at once, where smooth spectra that change slowly from pixel to
// pixel leave nothing but noise. By about 4000 pixels; excluded ones and their neighbours do not count. 0
// where an axis has fewer than three values.
double followed_noise(const SpectrumImageView& observed, std::span<const float> expected);

}  // namespace eelsvae
