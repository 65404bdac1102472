#pragma once

#include <cstdint>
#include <vector>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// One channel of a spectrum that a cosmic ray or an X-ray hit, and what stands there now.
struct Spike {
  int64_t y, x, channel;
  double energy_ev;
  float old_counts, new_counts;
  bool operator==(const Spike&) const = default;
};

// Noise of a count: variance = readout + gain * expected counts. The gain is what one detected electron
// counts; the readout noise stands alone where counts vanish.
struct CountNoise {
  double readout_variance = 0, gain = 0;
  double variance(double expected) const;
};

// Measured in the image itself, at up to 2^17 counts spread over it: how far the excess of a count over the
// median of its spectrum's nine nearest channels differs from the same excess in the neighbouring pixels, in
// classes of equal expected counts, without the largest hundredth of each class. Whole counts have a gain of
// 1 at least.
CountNoise estimate_count_noise(const SpectrumImage& image);

// Finds and replaces spikes, in place; returns what was replaced, in the order of y, x, channel.
//
// A channel's excess is what it holds above the median of the nine channels around it. It is a spike if the
// excess passes a threshold, and still does after one and a half times the second largest excess found in the
// up to eight neighbouring pixels, no more than two channels away, is taken off: real features, however
// narrow, are there in neighbouring pixels, a spike is not. (With fewer than three neighbours the largest
// excess counts. An excess is first scaled by the ratio of the two spectra's totals where the pixel is the
// brighter one.) Channels beside a spike that pass half the threshold belong to it.
// The threshold is that of `sigmas` standard deviations for shot noise, which is skewed: with the noise's
// standard deviation s and gain g, sigmas * s + sigmas^2 * g / 4, exact for the square root of counts.
// A spike's channels are replaced by the straight line between the channels on either side. Excluded pixels
// are neither searched nor compared with, and a pixel without any other neighbour is left alone.
//
// UserError if the image has a single pixel, or if more than a hundredth of all counts are spikes: the
// threshold is then too low for the image.
std::vector<Spike> remove_spikes(SpectrumImage& image, double sigmas);

}  // namespace eelsvae
