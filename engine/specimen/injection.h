#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// Anomalies made in an image that is there already, measured or simulated, usually after preprocessing:
// a peak is moved by whole channels.
enum class ShiftMethod {
  // As published: the 2 half_width + 1 channels around `centre` are rolled as numpy.roll does it. What leaves
  // at one end enters at the other: there are steps at both ends, and a shift by s is also one by
  // s - (2 half_width + 1), so that shifts of 33 and 8 channels of 41 move the peak equally far.
  roll,
  // Nothing wraps. The peak is what lies above a straight line through the means of the window's first and
  // last
  // five channels; it is taken off and added `shift` channels further, where it adds to what is there:
  //   new(c) = old(c) - p(c) + p(c - shift),  p(c) = old(c) - line(c) in the window, 0 elsewhere.
  // The sum of the spectrum stays. Noise is moved with the peak: channels that it leaves hold the line alone.
  move_peak
};

struct ShiftInjection {
  ShiftMethod method = ShiftMethod::roll;
  int64_t centre = 0;       // channel of the peak, as strongest_peak() finds it
  int64_t half_width = 20;  // 41 channels, as published
  int64_t shift = 8;        // channels; a fair coin for each pixel says to which side
  double anomalies =
      0.01;  // below 1 the share of the pixels, otherwise their number; excluded ones are spared
  uint64_t seed = 0;
};

// The channel at which the mean spectrum over all pixels that are not excluded is highest, within the range
// (eV). UserError if no channel lies in it or every pixel is excluded.
int64_t strongest_peak(const SpectrumImage& image, const std::array<double, 2>& range_ev);

// Changes single pixels in place and returns the truth (y, x), 1 where changed. UserError if the window, also
// where it is moved to, is not on the axis, if the shift is 0 or longer than the window, if the number of
// pixels is negative or there are not as many.
std::vector<uint8_t> inject_shifts(SpectrumImage& image, const ShiftInjection& injection);

}  // namespace eelsvae
