#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// Channels [first, last) of an energy axis.
struct ChannelWindow {
  int64_t first = 0, last = 0;
  int64_t size() const { return last - first; }
  bool operator==(const ChannelWindow&) const = default;
};

// "420 to 821.7 eV (1340 channels of 0.3 eV)", for messages.
std::string describe(const Axis& energy);

// The channels whose centres lie in the closed range (eV), as far as the axis goes; empty where it misses the
// axis. Ends are matched to a thousandth of a channel, so that 693.3 eV finds the channel written as
// 420 + 911 * 0.3. UserError if the range is not ascending or the axis has no positive dispersion.
ChannelWindow channels_within(const Axis& energy, const std::array<double, 2>& range_ev);

// The channels over which a score is taken: the whole of the range (eV), or a UserError where it reaches past
// the axis by more than half a channel or holds fewer than 3 channels, too few for a correlation.
ChannelWindow channel_window(const Axis& energy, const std::array<double, 2>& range_ev);

// Keeps the channels of the window, in place.
void crop_energy(SpectrumImage& image, ChannelWindow window);

// The channels on which a model was trained. UserError, naming both axes, unless the axis has all of them,
// each within a tenth of a channel of its place.
ChannelWindow channels_of_model(const Axis& energy, const Axis& model_energy);

}  // namespace eelsvae
