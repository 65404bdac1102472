#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// Spectra between their channels: the cubic spline through all of them, which is what
// scipy.ndimage.shift(spectrum, shift, order=3, mode="nearest") takes. Moved by half a channel it keeps 76 %
// of the variance of white noise, by a quarter 87 % (linear interpolation: 50 and 62 %), and it rings less
// beside sharp peaks than a windowed sinc. For one shift it is a filter of fixed weights; they fall by a
// factor of 0.27 per channel, and past twelve channels they are below single precision.
constexpr int64_t spline_taps = 24, spline_before = 11;

// The value at index i + fraction is the sum over k of weights[k] * value at index i - spline_before + k;
// fraction from 0 to 1.
std::array<double, spline_taps> spline_weights(double fraction);

// out[i] = the value of `in` at index i - channels, i < size; beyond its ends `in` goes on with its first and
// last value. `scratch` holds size + spline_taps floats. A whole number of channels is moved unchanged.
void move_spectrum(const float* in, float* out, int64_t size, double channels, float* scratch);

// How many channels at the low- and the high-energy end lie outside what was measured in the spectrum that
// was moved farthest; they repeat the spectrum's first or last value.
struct RepeatedChannels {
  int64_t low = 0, high = 0;
};

// Adds shifts_ev, one for each pixel (y, x), to the energies at which the counts stand; the axis stays.
RepeatedChannels move_spectra(SpectrumImage& image, std::span<const double> shifts_ev);

}  // namespace eelsvae
